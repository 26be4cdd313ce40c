// Texts and the windows cut from them.
#include "engine/text/windows.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/text/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

const std::string kModel = SourcePath("models/books-3m");

class WindowsTest : public ::testing::Test {
 protected:
  Windows Cut(const WindowOptions& options) const {
    auto windows = CutWindows(text_, *tokenizer_, options);
    EXPECT_TRUE(windows.ok()) << windows.status();
    return *std::move(windows);
  }

  const std::string text_ = *ReadText("builtin:evaluation", {});
  const std::unique_ptr<Tokenizer> tokenizer_ = *Tokenizer::Open(**OpenModelFolder(kModel));
  const std::vector<int32_t> all_ = *tokenizer_->Encode(text_, true);
};

TEST_F(WindowsTest, CutsTheTextInOrderAndCountsTheRest) {
  const Windows windows = Cut({.windows = 0, .tokens = 100, .seed = 0});
  ASSERT_EQ(windows.ids.size(), all_.size() / 100);
  for (size_t i = 0; i < windows.ids.size(); ++i) {
    ASSERT_EQ(windows.ids[i].size(), 100u);
    EXPECT_TRUE(std::equal(windows.ids[i].begin(), windows.ids[i].end(),
                           all_.begin() + static_cast<int64_t>(i) * 100));
  }
  EXPECT_EQ(windows.tokens_in_text, static_cast<int64_t>(all_.size()));
  EXPECT_EQ(windows.tokens_left_over, static_cast<int64_t>(all_.size() % 100));
  EXPECT_EQ(windows.digest, Sha256Hex(text_));
}

TEST_F(WindowsTest, CountsWindowsBeyondTheLimit) {
  const Windows windows = Cut({.windows = 3, .tokens = 64, .seed = 0});
  EXPECT_EQ(windows.ids.size(), 3u);
  EXPECT_EQ(windows.total_tokens(), 192);
  EXPECT_EQ(windows.tokens_left_over, windows.tokens_in_text - 192);
}

TEST_F(WindowsTest, ASeedShufflesWithoutLossAndAlwaysTheSame) {
  const Windows plain = Cut({.windows = 0, .tokens = 100, .seed = 0});
  const Windows first = Cut({.windows = 0, .tokens = 100, .seed = 1});
  EXPECT_NE(first.ids, plain.ids);
  EXPECT_EQ(Cut({.windows = 0, .tokens = 100, .seed = 1}).ids, first.ids);
  EXPECT_NE(Cut({.windows = 0, .tokens = 100, .seed = 2}).ids, first.ids);
  EXPECT_EQ(std::multiset(first.ids.begin(), first.ids.end()),
            std::multiset(plain.ids.begin(), plain.ids.end()));
  // Fewer windows are the first of the same order.
  const Windows fewer = Cut({.windows = 5, .tokens = 100, .seed = 1});
  EXPECT_TRUE(std::equal(fewer.ids.begin(), fewer.ids.end(), first.ids.begin()));
}

// The order is a promise: worked out by hand from SplitMix64 with seed 1 for four windows. Its
// first three numbers are 10451216379200822465, 13757245211066428519 and 17911839290282890590.
TEST_F(WindowsTest, TheSeededOrderIsThatOfSplitMix64) {
  const int64_t tokens = static_cast<int64_t>(all_.size()) / 4;
  const Windows plain = Cut({.windows = 0, .tokens = tokens, .seed = 0});
  ASSERT_EQ(plain.ids.size(), 4u);
  std::vector<size_t> order = {0, 1, 2, 3};
  std::swap(order[3], order[10451216379200822465u % 4]);
  std::swap(order[2], order[13757245211066428519u % 3]);
  std::swap(order[1], order[17911839290282890590u % 2]);
  const Windows shuffled = Cut({.windows = 0, .tokens = tokens, .seed = 1});
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(shuffled.ids[i], plain.ids[order[i]]) << i;
}

TEST_F(WindowsTest, RefusesATextThatIsTooShort) {
  const auto windows = CutWindows("Short.", *tokenizer_, {.windows = 1, .tokens = 512, .seed = 0});
  EXPECT_EQ(ReasonOf(windows.status()), Reason::kDatasetInvalid);
  EXPECT_THAT(std::string(windows.status().message()), HasSubstr("at least 512"));
  EXPECT_FALSE(CutWindows("", *tokenizer_, {.windows = 1, .tokens = 512, .seed = 0}).ok());
}

TEST_F(WindowsTest, RefusesOptionsThatCannotBe) {
  EXPECT_EQ(ReasonOf(CutWindows(text_, *tokenizer_, {.tokens = 0}).status()),
            Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(CutWindows(text_, *tokenizer_, {.windows = -1}).status()),
            Reason::kInvalidField);
}

class ReadTextTest : public ::testing::Test {
 protected:
  std::string Put(const std::string& bytes) const {
    std::ofstream(folder_.path() + "/text", std::ios::binary) << bytes;
    return folder_.path() + "/text";
  }
  static void ExpectRefused(const std::string& source, const std::string& says) {
    const auto text = ReadText(source, {});
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(ReasonOf(text.status()), Reason::kDatasetInvalid) << text.status();
    EXPECT_THAT(std::string(text.status().message()), HasSubstr(says));
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("windows-test");
};

TEST_F(ReadTextTest, BuiltinTextsAreTheFilesOfTheModel) {
  EXPECT_EQ(*ReadText("builtin:calibration", {}),
            *ReadFile(std::string(kModel) + "/calibration.txt", 1 << 24));
  EXPECT_EQ(*ReadText("builtin:evaluation", {}),
            *ReadFile(std::string(kModel) + "/evaluation.txt", 1 << 24));
  ExpectRefused("builtin:other", "builtin:evaluation");
}

TEST_F(ReadTextTest, ReadsUtf8) {
  const std::string text = "plain, \xC3\xA9, \xE2\x82\xAC, \xF0\x9F\xA6\x99";
  EXPECT_EQ(*ReadText(Put(text), {}), text);
}

TEST_F(ReadTextTest, RefusesOtherBytesAndSaysWhere) {
  ExpectRefused(Put("0123456789\xFF"), "byte 10");
  ExpectRefused(Put("caf\xE9"), "byte 3");
  ExpectRefused(Put(""), "empty");
}

TEST_F(ReadTextTest, RefusesWhatIsNoFile) {
  ExpectRefused(folder_.path(), "not a regular file");
  ExpectRefused(folder_.path() + "/absent", "no such file");
  const std::string pipe = folder_.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  ExpectRefused(pipe, "not a regular file");
}

// As for strangers: what is opened is looked at, and not what was looked at before.
TEST_F(ReadTextTest, WithRootsALinkLeadsOutOfNone) {
  const std::string base = *RealPath(folder_.path());
  const std::vector<std::string> roots = {base + "/allowed", base + "/cache"};
  for (const char* name : {"/allowed", "/cache", "/outside"})
    ASSERT_TRUE(MakeFolders(base + name).ok());
  ASSERT_TRUE(WriteFileAtomic(base + "/cache/text", "cached").ok());
  ASSERT_TRUE(WriteFileAtomic(base + "/outside/text", "secret").ok());
  const std::string text = base + "/allowed/text";
  ASSERT_EQ(::symlink("../cache/text", text.c_str()), 0);
  EXPECT_EQ(*ReadText(text, roots), "cached");
  ASSERT_EQ(::unlink(text.c_str()), 0);
  ASSERT_EQ(::symlink("../outside/text", text.c_str()), 0);
  EXPECT_EQ(*ReadText(text, {}), "secret");
  EXPECT_EQ(ReasonOf(ReadText(text, roots).status()), Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(ReadText(base + "/allowed/absent", roots).status()),
            Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(ReadText(base + "/allowed", roots).status()), Reason::kDatasetInvalid);
  EXPECT_TRUE(ReadText("builtin:evaluation", roots).ok());
}

TEST_F(ReadTextTest, RefusesMoreThanAGibibyteWithoutReadingIt) {
  const std::string path = Put("x");
  ASSERT_EQ(::truncate(path.c_str(), (int64_t{1} << 30) + 1), 0);
  ExpectRefused(path, "1073741825 bytes");
}

TEST(Utf8Test, KnowsEveryKindOfMistake) {
  const struct {
    std::string_view bytes;
    std::optional<size_t> invalid;
  } kCases[] = {
      {"", std::nullopt},
      {"12345678abc", std::nullopt},
      {"\x7F\xC2\x80\xDF\xBF", std::nullopt},
      {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", std::nullopt},
      {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", std::nullopt},
      {"12345678\x80", 8},          // a following byte alone
      {"a\xC1\xBF", 1},             // overlong
      {"a\xE0\x9F\xBF", 1},         // overlong
      {"a\xF0\x8F\xBF\xBF", 1},     // overlong
      {"a\xED\xA0\x80", 1},         // a surrogate
      {"a\xF4\x90\x80\x80", 1},     // above U+10FFFF
      {"a\xF5\x80\x80\x80", 1},     // above U+10FFFF
      {"a\xC3", 1},                 // cut short
      {"a\xE2\x82", 1},             // cut short
      {"a\xF0\x9F\xA6", 1},         // cut short
      {"a\xE2\x82z", 1},            // a letter within a character
      {"\xC3\xA9\xF0\x9F\x28", 2},  // after a good character
  };
  for (const auto& example : kCases) EXPECT_EQ(FirstInvalidUtf8(example.bytes), example.invalid);
}

}  // namespace
}  // namespace quantd
