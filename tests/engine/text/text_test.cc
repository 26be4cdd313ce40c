// Texts of every form as documents, and what is refused by name.
#include "engine/text/text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TextTest : public ::testing::Test {
 protected:
  std::string Put(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_.path() + "/" + name, std::ios::binary) << bytes;
    return folder_.path() + "/" + name;
  }
  absl::StatusOr<Text> Open(TextRequest request, std::span<const std::string> roots = {}) const {
    return Text::Open(request, roots, **OpenModelFolder(SourcePath("models/books-3m")));
  }
  // All documents; the error that ends them as the last one.
  std::vector<std::string> Documents(const TextRequest& request) const {
    const auto text = Open(request);
    if (!text.ok()) return {std::string(text.status().message())};
    std::vector<std::string> all;
    const auto documents = text->Documents();
    while (true) {
      const auto more = documents->Next();
      if (!more.ok()) all.emplace_back(more.status().message());
      if (!more.ok() || !*more) return all;
      std::string document;
      for (size_t before = 1; before != document.size();) {
        before = document.size();
        const absl::Status read = documents->Read(5, document);
        if (!read.ok()) return {std::string(read.message())};
      }
      all.push_back(std::move(document));
    }
  }
  void ExpectRefused(const TextRequest& request, const std::string& says) const {
    const auto text = Open(request);
    const std::vector<std::string> all = Documents(request);
    ASSERT_FALSE(all.empty()) << request.source;
    EXPECT_THAT(all.back(), HasSubstr(says));
    if (!text.ok()) {
      EXPECT_EQ(ReasonOf(text.status()), Reason::kDatasetInvalid) << text.status();
    }
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("text-test");
};

TEST_F(TextTest, BuiltinTextsAreTheFilesOfTheModel) {
  for (const char* name : {"calibration", "evaluation"}) {
    const std::string wanted =
        *ReadFile(SourcePath("models/books-3m") + "/" + name + ".txt", 1 << 24);
    EXPECT_THAT(Documents({.source = std::string("builtin:") + name}), ElementsAre(wanted));
    EXPECT_EQ(*Open({.source = std::string("builtin:") + name})->Digest(), Sha256Hex(wanted));
  }
  ExpectRefused({.source = "builtin:other"}, "builtin:evaluation");
}

TEST_F(TextTest, PlainTextIsOneDocument) {
  for (const char* text :
       {"plain, \xC3\xA9, \xE2\x82\xAC, \xF0\x9F\xA6\x99", "[Illustration]\n\nIt", "[1] A footnote",
        "{curly} prose", "\"Hello,\" he said.\nShe left.", "id,text that goes on\nand on",
        "\n\n  indented"}) {
    EXPECT_THAT(Documents({.source = Put("text", text)}), ElementsAre(text));
    EXPECT_EQ(*Open({.source = folder_.path() + "/text"})->Digest(), Sha256Hex(text));
  }
  ExpectRefused({.source = Put("text", "prose"), .field = "text"}, "plain text");
}

TEST_F(TextTest, LinesOfJson) {
  const std::string lines =
      "{\"text\": \"one\"}\n\n{\"id\": 7, \"text\": \"\"}\r\n{\"text\": \"t\\nwo\"}";
  EXPECT_THAT(Documents({.source = Put("a.jsonl", lines)}), ElementsAre("one", "t\nwo"));
  EXPECT_THAT(Documents({.source = Put("nameless", lines)}), ElementsAre("one", "t\nwo"));
  EXPECT_THAT(Documents({.source = Put("b.jsonl", "\"a\"\n\"b\"\n")}), ElementsAre("a", "b"));
  EXPECT_THAT(
      Documents({.source = Put("c.jsonl", "{\"body\":\"x\",\"text\":\"y\"}\n"), .field = "body"}),
      ElementsAre("x"));
}

TEST_F(TextTest, ArraysOfJson) {
  const std::string array = " [\n {\"text\": \"a ]},\\\" b\"},\n {\"text\": \"c\"}\n]\n";
  EXPECT_THAT(Documents({.source = Put("a.json", array)}), ElementsAre("a ]},\" b", "c"));
  EXPECT_THAT(Documents({.source = Put("nameless", array)}), ElementsAre("a ]},\" b", "c"));
  EXPECT_THAT(Documents({.source = Put("b.json", "[\"a\", \"b\"]")}), ElementsAre("a", "b"));
  EXPECT_THAT(Documents({.source = Put("c.json", "{\n \"text\": \"alone\"\n}\n")}),
              ElementsAre("alone"));
}

TEST_F(TextTest, RowsOfCsv) {
  const std::string rows = "id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n2,d\n";
  EXPECT_THAT(Documents({.source = Put("a.csv", rows)}), ElementsAre("a, \"b\"\nc", "d"));
  EXPECT_THAT(Documents({.source = Put("nameless", rows)}), ElementsAre("a, \"b\"\nc", "d"));
  EXPECT_THAT(Documents({.source = Put("a.tsv", "text\tid\nx y\t1\n")}), ElementsAre("x y"));
  EXPECT_THAT(Documents({.source = folder_.path() + "/a.csv", .field = "id"}),
              ElementsAre("1", "2"));
}

TEST_F(TextTest, ConversationsGoThroughTheTemplate) {
  const std::string chat =
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ tools | tojson }}";
  const std::string turns =
      R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])";
  for (const std::string& line :
       {"{\"messages\": " + turns + "}", turns,
        std::string(R"({"conversations": [{"from": "human", "value": "q"},)"
                    R"( {"from": "gpt", "value": "a"}]})")}) {
    EXPECT_THAT(Documents({.source = Put("a.jsonl", line + "\n" + line), .chat_template = chat}),
                ElementsAre("<user>q<assistant>anull", "<user>q<assistant>anull"));
  }
  EXPECT_THAT(Documents({.source = Put("t.jsonl", "{\"messages\":" + turns + ",\"tools\":[1]}"),
                         .chat_template = chat}),
              ElementsAre("<user>q<assistant>a[1]"));
  ExpectRefused({.source = folder_.path() + "/a.jsonl"}, "a model without a chat template");
  ExpectRefused({.source = Put("b.jsonl", turns + "\n" + turns),
                 .chat_template = "{{ raise_exception('no system prompt') }}"},
                "b.jsonl: line 1: got a conversation that the chat template refuses");
}

TEST_F(TextTest, RefusesByNameWhatItDoesNotKnow) {
  ExpectRefused({.source = Put("a.jsonl", "{\"instruction\": \"x\", \"output\": \"y\"}\n")},
                "a.jsonl: line 1: got fields instruction, output, wanted a field text");
  ExpectRefused({.source = folder_.path() + "/a.jsonl"}, "--text-field");
  ExpectRefused({.source = folder_.path() + "/a.jsonl", .field = "body"}, "wanted a field body");
  ExpectRefused({.source = Put("b.jsonl", "{\"text\": \"x\"}\n{\"text\": null}\n")}, "line 2");
  ExpectRefused({.source = Put("c.jsonl", "{\"text\": \"x\"}\n{\"text\": \n")},
                "line 2: got no JSON");
  ExpectRefused({.source = Put("d.jsonl", "prose\n")}, "d.jsonl: line 1: got no JSON");
  ExpectRefused({.source = Put("e.json", "[{\"text\": \"x\"}")}, "the end of the array");
  ExpectRefused({.source = Put("f.csv", "id,name\n1,x\n")}, "fields id, name");
  ExpectRefused({.source = Put("g.csv", "id,text\n1,x,y\n")}, "line 2: got 3 fields");
  ExpectRefused({.source = Put("h.csv", "id,text\n1,\"x\n")}, "a quote without an end");
  ExpectRefused({.source = Put("i.parquet", "PAR1xxxx")}, "a Parquet file");
  ExpectRefused({.source = Put("j", "\x1F\x8Bxx")}, "a gzip file");
  ExpectRefused({.source = Put("k.jsonl", "\n")}, "no records");
  ExpectRefused({.source = Put("l.jsonl", "{\"text\": \"x\"}\n[{\"role\": \"user\"}]\n")},
                "one kind");
}

TEST_F(TextTest, RefusesOtherBytesAndSaysWhere) {
  for (const auto& [bytes, says] : std::vector<std::pair<std::string, std::string>>{
           {"0123456789\xFF", "byte 10"}, {"caf\xE9", "byte 3"}}) {
    const std::string source = Put("text", bytes);
    ExpectRefused({.source = source}, says);
    EXPECT_THAT(std::string(Open({.source = source})->Digest().status().message()),
                HasSubstr(says));
  }
  // A character over the border of two pieces that are read.
  const std::string before(65535, 'a');
  EXPECT_TRUE(Open({.source = Put("text", before + "\xC3\xA9")})->Digest().ok());
  EXPECT_THAT(
      std::string(Open({.source = Put("text", before + "\xC3z")})->Digest().status().message()),
      HasSubstr("byte 65535"));
  ExpectRefused({.source = Put("text", "")}, "empty");
}

TEST_F(TextTest, RefusesWhatIsNoFile) {
  ExpectRefused({.source = folder_.path()}, "not a regular file");
  ExpectRefused({.source = folder_.path() + "/absent"}, "no such file");
  const std::string pipe = folder_.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  ExpectRefused({.source = pipe}, "not a regular file");
  const std::string path = Put("large", "x");
  ASSERT_EQ(::truncate(path.c_str(), (int64_t{1} << 30) + 1), 0);
  ExpectRefused({.source = path}, "1073741825 bytes");
}

// As for strangers: what is opened is looked at, and not what was looked at before.
TEST_F(TextTest, WithRootsALinkLeadsOutOfNone) {
  const std::string base = *RealPath(folder_.path());
  const std::vector<std::string> roots = {base + "/allowed", base + "/cache"};
  for (const char* name : {"/allowed", "/cache", "/outside"})
    ASSERT_TRUE(MakeFolders(base + name).ok());
  ASSERT_TRUE(WriteFileAtomic(base + "/cache/text", "cached").ok());
  ASSERT_TRUE(WriteFileAtomic(base + "/outside/text", "secret").ok());
  const std::string text = base + "/allowed/text";
  ASSERT_EQ(::symlink("../cache/text", text.c_str()), 0);
  EXPECT_EQ(*Open({.source = text}, roots)->Digest(), Sha256Hex("cached"));
  ASSERT_EQ(::unlink(text.c_str()), 0);
  ASSERT_EQ(::symlink("../outside/text", text.c_str()), 0);
  EXPECT_TRUE(Open({.source = text}).ok());
  EXPECT_EQ(ReasonOf(Open({.source = text}, roots).status()), Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(Open({.source = base + "/allowed/absent"}, roots).status()),
            Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(Open({.source = base + "/allowed"}, roots).status()), Reason::kDatasetInvalid);
  EXPECT_TRUE(Open({.source = "builtin:evaluation"}, roots).ok());
}

}  // namespace
}  // namespace quantd
