// Tokenizers into the keys of a GGUF file and back: they cut texts as they did.
#include "engine/text/tokenizer.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/gguf/key_values.h"
#include "engine/gguf/tokenizer_keys.h"
#include "engine/gguf_source/source_tokenizer.h"
#include "engine/tensor/model_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/gguf/gguf_bytes.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kTexts = {
    "",
    " ",
    "Hello world",
    "  two  spaces\tand\ttabs\n\n\nthree lines",
    "don't can't I'll 'RE you",
    "3.14159 1,000,000 0xFF 1e-5",
    "na\u00efve \u4f60\u597d \U0001f600 \u0416\u0443\u043a",
    "x=[1,2];//...!!\r\n",
    "<|endoftext|>after<|endoftext|>",
};

// The keys that are written for the files of `folder`, as a header that was read.
absl::StatusOr<GgufHeader> HeaderOf(const std::string& folder, int64_t vocabulary) {
  QD_ASSIGN_OR_RETURN(const auto files, OpenModelFolder(folder));
  KeyValues keys;
  std::vector<std::string> warnings;
  QD_RETURN_IF_ERROR(AddTokenizer(*files, vocabulary, keys, warnings));
  EXPECT_THAT(warnings, ::testing::IsEmpty());
  GgufBytes bytes;
  bytes.Head(0, keys.count()).Raw(keys.bytes()).Data(0);
  return ParseGguf(std::as_bytes(std::span(bytes.bytes())), "test.gguf");
}

void ExpectSameCuts(const std::string& folder, int64_t vocabulary) {
  const auto header = HeaderOf(folder, vocabulary);
  ASSERT_TRUE(header.ok()) << header.status();
  const auto files = TokenizerFiles(*header);
  ASSERT_TRUE(files.ok()) << files.status();
  const auto was = Tokenizer::Open(**OpenModelFolder(folder));
  const auto is = Tokenizer::FromJson(files->at("tokenizer.json"));
  ASSERT_TRUE(was.ok() && is.ok()) << is.status();
  for (const std::string& text : kTexts) {
    EXPECT_EQ(*(*is)->Encode(text, true), *(*was)->Encode(text, true)) << text;
  }
}

TEST(SourceTokenizerTest, RealOnesCutAsTheyDid) {
  QD_SHARED_DATA_OR_SKIP(data);
  ExpectSameCuts(data + "/tokenizers/falcon", 65024);
  ExpectSameCuts(data + "/tokenizers/gpt-neox-20b", 50432);
}

class MadeTokenizerTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const Json& json) const {
    ASSERT_TRUE(WriteFileAtomic(folder_.path() + "/" + name, DumpJson(json)).ok());
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("source-tokenizer");
};

// As Llama 2 has it: spaces are letters, unknown characters become bytes, texts begin with <s>.
TEST_F(MadeTokenizerTest, SentencePieceMergesInTheOrderOfScores) {
  Json vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    vocabulary[name] = vocabulary.size();
  }
  const std::vector<std::string> pieces = {"\u2581", "H", "e", "l", "o", "w", "r", "d"};
  for (const std::string& piece : pieces) vocabulary[piece] = vocabulary.size();
  const std::vector<std::pair<std::string, std::string>> order = {
      {"l", "l"},        {"\u2581", "w"}, {"e", "ll"}, {"o", "r"},
      {"\u2581w", "or"}, {"H", "ell"},    {"l", "d"}};
  Json merges = Json::array();
  for (const auto& [left, right] : order) {
    merges.push_back({left, right});
    vocabulary[left + right] = vocabulary.size();
  }
  const auto special = [](int id, const char* text) {
    return Json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const Json space = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  Write("tokenizer.json",
        {{"version", "1.0"},
         {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}},
         {"normalizer",
          {{"type", "Sequence"},
           {"normalizers", {Json{{"type", "Prepend"}, {"prepend", "\u2581"}}, space}}}},
         {"pre_tokenizer", nullptr},
         {"post_processor",
          {{"type", "TemplateProcessing"},
           {"single",
            {Json{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
             Json{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
           {"pair",
            {Json{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
             Json{{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
           {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
         {"model",
          {{"type", "BPE"},
           {"unk_token", "<unk>"},
           {"fuse_unk", true},
           {"byte_fallback", true},
           {"vocab", vocabulary},
           {"merges", merges}}}});
  Write("tokenizer_config.json", {{"bos_token", "<s>"},
                                  {"eos_token", "</s>"},
                                  {"unk_token", "<unk>"},
                                  {"chat_template", "{{ messages }}"}});
  ExpectSameCuts(folder_.path(), static_cast<int64_t>(vocabulary.size()) + 5);
  const auto files =
      TokenizerFiles(*HeaderOf(folder_.path(), static_cast<int64_t>(vocabulary.size())));
  ASSERT_TRUE(files.ok()) << files.status();
  const Json settings = *ParseJson(files->at("tokenizer_config.json"), "settings");
  EXPECT_EQ(settings["bos_token"], "<s>");
  EXPECT_EQ(settings["chat_template"], "{{ messages }}");
  EXPECT_EQ(settings["add_bos_token"], true);
  const Json generation = *ParseJson(files->at("generation_config.json"), "generation");
  EXPECT_EQ(generation["eos_token_id"], 2);
}

GgufHeader HeaderWith(const std::string& model, const std::string& pre) {
  GgufBytes bytes;
  bytes.Head(0, 3)
      .StringKey("tokenizer.ggml.model", model)
      .StringKey("tokenizer.ggml.pre", pre)
      .StringsKey("tokenizer.ggml.tokens", {"a", "b"})
      .Data(0);
  return *ParseGguf(std::as_bytes(std::span(bytes.bytes())), "test.gguf");
}

TEST(SourceTokenizerTest, UnknownKindsAndCuttingsAreRefusedByName) {
  const absl::Status pre = TokenizerFiles(HeaderWith("gpt2", "deepseek-coder")).status();
  EXPECT_EQ(ReasonOf(pre), Reason::kModelUnsupported);
  EXPECT_THAT(pre.message(), HasSubstr("deepseek-coder"));
  const absl::Status kind = TokenizerFiles(HeaderWith("t5", "default")).status();
  EXPECT_EQ(ReasonOf(kind), Reason::kModelUnsupported);
  EXPECT_THAT(kind.message(), HasSubstr("t5"));
  EXPECT_EQ(ReasonOf(TokenizerFiles(HeaderWith("llama", "default")).status()),
            Reason::kModelCorrupt);
  EXPECT_TRUE(TokenizerFiles(HeaderWith("gpt2", "llama3")).ok());
}

}  // namespace
}  // namespace quantd
