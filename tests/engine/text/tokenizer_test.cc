// Token ids against the Python package and against published golden files.
#include "engine/text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

const std::string kModel = SourcePath("models/books-3m");

Json Golden() {
  return *ParseJson(*ReadFile(QUANTD_GOLDEN_DIR "/tokenizer.json", 1 << 24), "golden");
}

// Every text of the golden file, with and without special tokens, and back.
void ExpectGolden(const std::string& name, const std::string& folder) {
  const auto tokenizer = Tokenizer::Open(**OpenModelFolder(folder));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const Json golden = Golden();
  const Json& model = golden["models"][name];
  EXPECT_EQ((*tokenizer)->vocabulary_size(), model["vocabulary"].get<int64_t>());
  ASSERT_EQ(model["entries"].size(), golden["texts"].size());
  for (size_t i = 0; i < golden["texts"].size(); ++i) {
    const auto text = golden["texts"][i].get<std::string>();
    SCOPED_TRACE(text);
    const Json& entry = model["entries"][i];
    const auto plain = entry["plain"].get<std::vector<int32_t>>();
    EXPECT_EQ(*(*tokenizer)->Encode(text, true), entry["special"].get<std::vector<int32_t>>());
    EXPECT_EQ(*(*tokenizer)->Encode(text, false), plain);
    EXPECT_EQ(*(*tokenizer)->Decode(plain), entry["decoded"].get<std::string>());
  }
}

TEST(TokenizerTest, BooksAsInPython) { ExpectGolden("books-3m", kModel); }

TEST(TokenizerTest, GptNeoxAsInPython) {
  QD_SHARED_DATA_OR_SKIP(data);
  ExpectGolden("gpt-neox-20b", data + "/tokenizers/gpt-neox-20b");
}

TEST(TokenizerTest, FalconAsInPython) {
  QD_SHARED_DATA_OR_SKIP(data);
  ExpectGolden("falcon", data + "/tokenizers/falcon");
}

TEST(TokenizerTest, StoriesAsInPython) {
  QD_SHARED_DATA_OR_SKIP(data);
  ExpectGolden("stories260K", data + "/models/stories260K");
}

TEST(TokenizerTest, AWholeTextAsInPython) {
  const auto tokenizer = Tokenizer::Open(**OpenModelFolder(kModel));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto ids = (*tokenizer)->Encode(*ReadFile(kModel + "/calibration.txt", 1 << 24), true);
  ASSERT_TRUE(ids.ok()) << ids.status();
  const Json golden = Golden()["calibration"];
  EXPECT_EQ(ids->size(), golden["count"].get<size_t>());
  Sha256 sha;
  sha.Update(std::as_bytes(std::span(*ids)));
  EXPECT_EQ(sha.FinishHex(), golden["sha256"].get<std::string>());
}

// Strings and ids published with the tokenizer: entries of the input end in a line of their own.
void ExpectPublished(const Tokenizer& tokenizer, const std::string& folder) {
  const std::string input = *ReadFile(folder + "/golden.inp", 1 << 24);
  const std::string output = *ReadFile(folder + "/golden.out", 1 << 24);
  const std::vector<std::string> texts = absl::StrSplit(input, "\n__ggml_vocab_test__\n");
  const std::vector<std::string> lines = absl::StrSplit(output, '\n');
  ASSERT_EQ(texts.size(), lines.size());
  ASSERT_GT(texts.size(), 40u);
  for (size_t i = 0; i < texts.size(); ++i) {
    std::istringstream line(lines[i]);
    std::vector<int32_t> wanted;
    for (int32_t id = 0; line >> id;) wanted.push_back(id);
    EXPECT_EQ(*tokenizer.Encode(texts[i], false), wanted) << "entry " << i << ": " << texts[i];
  }
}

TEST(TokenizerTest, FalconAsPublished) {
  QD_SHARED_DATA_OR_SKIP(data);
  const auto tokenizer = Tokenizer::Open(**OpenModelFolder(data + "/tokenizers/falcon"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectPublished(**tokenizer, data + "/tokenizers/falcon");
}

// GPT-2 has no tokenizer.json: byte-level BPE of its vocabulary and merges.
TEST(TokenizerTest, Gpt2AsPublished) {
  QD_SHARED_DATA_OR_SKIP(data);
  const std::string folder = data + "/tokenizers/gpt2";
  const std::string merges = *ReadFile(folder + "/merges.txt", 1 << 24);
  Json rules = Json::array();
  for (const absl::string_view line : absl::StrSplit(merges, '\n', absl::SkipEmpty())) {
    if (!absl::StartsWith(line, "#version")) rules.push_back(std::string(line));
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  // The vocabulary goes in as the text it is: 50,257 keys.
  const std::string vocabulary = *ReadFile(folder + "/vocab.json", 1 << 24);
  const std::string json = R"({"version":"1.0","added_tokens":[],"normalizer":null,)"
                           R"("post_processor":null,"pre_tokenizer":)" +
                           DumpJson(byte_level) + R"(,"decoder":)" + DumpJson(byte_level) +
                           R"(,"model":{"type":"BPE","dropout":null,"unk_token":null,)"
                           R"("fuse_unk":false,"byte_fallback":false,"vocab":)" +
                           vocabulary + R"(,"merges":)" + DumpJson(rules) + "}}";
  const auto tokenizer = Tokenizer::FromJson(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 50257);
  ExpectPublished(**tokenizer, folder);
}

TEST(TokenizerTest, ManyThreadsShareOne) {
  const auto tokenizer = Tokenizer::Open(**OpenModelFolder(kModel));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = ReadFile(kModel + "/evaluation.txt", 1 << 24)->substr(0, 20'000);
  const std::vector<int32_t> wanted = *(*tokenizer)->Encode(text, true);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(*(*tokenizer)->Encode(text, true), wanted); });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TokenizerTest, RefusesWhatIsNoTokenizer) {
  for (const char* json :
       {"", "{}", "[]", "null", "hello", "\xFF\xFE", R"({"version":"1.0"})",
        R"({"version":"1.0","model":{"type":"None"}})",
        R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})",
        R"({"version":"9.0","model":{"type":"BPE","vocab":{},"merges":[]}})"}) {
    const auto tokenizer = Tokenizer::FromJson(json);
    ASSERT_FALSE(tokenizer.ok()) << json;
    EXPECT_EQ(ReasonOf(tokenizer.status()), Reason::kModelCorrupt);
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokenizer.json"));
  }
  EXPECT_FALSE(Tokenizer::FromJson(std::string(1'000'000, '[')).ok());
}

TEST(TokenizerTest, RefusesTextAndIdsThatCannotBe) {
  const auto tokenizer = Tokenizer::Open(**OpenModelFolder(kModel));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto ids = (*tokenizer)->Encode("good \xC0\x80", true);
  EXPECT_EQ(ReasonOf(ids.status()), Reason::kDatasetInvalid);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("byte 5"));
  EXPECT_FALSE((*tokenizer)->Decode({-1}).ok());
}

TEST(TokenizerTest, SaysWhatIsThereInstead) {
  const auto folder = TemporaryFolder::Create("tokenizer-test");
  EXPECT_EQ(ReasonOf(Tokenizer::Open(**OpenModelFolder(folder->path())).status()),
            Reason::kModelCorrupt);
  std::ofstream(folder->path() + "/tokenizer.model") << "x";
  const auto refused = Tokenizer::Open(**OpenModelFolder(folder->path()));
  EXPECT_EQ(ReasonOf(refused.status()), Reason::kModelUnsupported);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("AutoTokenizer"));
  std::filesystem::create_directory(folder->path() + "/tokenizer.json");
  EXPECT_EQ(ReasonOf(Tokenizer::Open(**OpenModelFolder(folder->path())).status()),
            Reason::kModelCorrupt);
}

}  // namespace
}  // namespace quantd
