// A text in pieces gives the ids of the text as a whole.
#include "engine/text/token_stream.h"

#include <string>
#include <vector>

#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

// Several pieces of each text, streamed and whole.
class TokenStreamTest : public ::testing::Test {
 protected:
  void ExpectAsWhole(const std::string& folder, const std::string& text) const {
    const auto files = *OpenModelFolder(folder);
    const auto tokenizer = *Tokenizer::Open(*files);
    const std::string path = folder_.path() + "/text";
    ASSERT_TRUE(WriteFileAtomic(path, text).ok());
    const auto opened = Text::Open({.source = path}, {}, *files);
    ASSERT_TRUE(opened.ok()) << opened.status();
    std::vector<int32_t> ids;
    TokenStream stream(*opened, *tokenizer);
    int pieces = 0;
    for (auto more = stream.Next(ids); *more; more = stream.Next(ids)) ++pieces;
    EXPECT_GE(pieces, 3);
    EXPECT_TRUE(ids == *tokenizer->Encode(text, true)) << folder << ", " << ids.size() << " ids";
  }
  std::string Books() const {
    return *ReadFile(SourcePath("models/books-3m/calibration.txt"), 1 << 24);
  }
  const TemporaryFolder folder_ = *TemporaryFolder::Create("token-stream-test");
};

// Prose without lines, and lines and blanks in runs, which tokenizers join.
std::string WithoutLines(std::string text) {
  for (char& letter : text) {
    if (letter == '\n') letter = ' ';
  }
  return text;
}
std::string WithRuns(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    out += letter;
    if (letter == '\n') out += (out.size() % 3 == 0) ? "\n\n" : "  \t";
    if (letter == '.') out += "   ";
  }
  return out;
}
// Characters of three bytes without a blank between them.
std::string WithoutBlanks() {
  std::string out;
  for (int i = 0; i < 70'000; ++i) {
    const int code = 0x4E00 + (i * 7919) % 0x4000;
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
  return out;
}

TEST_F(TokenStreamTest, BooksAsWhole) {
  const std::string model = SourcePath("models/books-3m");
  ExpectAsWhole(model, Books());
  ExpectAsWhole(model, WithoutLines(Books()));
  ExpectAsWhole(model, WithRuns(Books()));
  ExpectAsWhole(model, WithoutBlanks());
}

TEST_F(TokenStreamTest, PublishedTokenizersAsWhole) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const char* name :
       {"/tokenizers/gpt-neox-20b", "/tokenizers/falcon", "/models/stories260K"}) {
    const std::string raw = *ReadFile(data + "/text/wikitext-2/wiki.test.raw", 1 << 24);
    ExpectAsWhole(data + name, raw.substr(0, 200'000));
    ExpectAsWhole(data + name, Books());
    ExpectAsWhole(data + name, WithoutLines(Books()));
    ExpectAsWhole(data + name, WithRuns(Books()));
    ExpectAsWhole(data + name, WithoutBlanks());
  }
}

}  // namespace
}  // namespace quantd
