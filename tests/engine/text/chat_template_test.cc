// Conversations rendered as transformers renders them, and what a template may not do.
#include "engine/text/chat_template.h"

#include <string>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

std::string Source(const std::string& name) {
  return *ReadFile(QUANTD_GOLDEN_DIR "/chat_templates/" + name + ".jinja", 1 << 20);
}

class ChatTemplateTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, const Json& json) const {
    ASSERT_TRUE(WriteFileAtomic(folder_.path() + "/" + name, DumpJson(json)).ok());
  }
  absl::StatusOr<std::unique_ptr<const ChatTemplate>> Open(const std::string& given) const {
    return ChatTemplate::Open(**OpenModelFolder(folder_.path()), given);
  }
  absl::StatusOr<std::string> Render(const std::string& source, const Json& messages) const {
    const auto chat = Open(source);
    if (!chat.ok()) return chat.status();
    return (*chat)->Render(messages, Json());
  }

  const TemporaryFolder folder_ = *TemporaryFolder::Create("chat-template-test");
  const Json golden_ =
      *ParseJson(*ReadFile(QUANTD_GOLDEN_DIR "/chat_templates.json", 1 << 24), "golden");
};

TEST_F(ChatTemplateTest, RendersAsTransformersDoes) {
  Put("tokenizer_config.json", golden_["tokens"]);
  ASSERT_GE(golden_["templates"].size(), 12u);
  for (const auto& [name, expected] : golden_["templates"].items()) {
    const std::string source = Source(name);
    for (const auto& [title, text] : expected.items()) {
      SCOPED_TRACE(name + ", " + title);
      const auto rendered = Render(source, golden_["conversations"][title]);
      EXPECT_EQ(rendered.ok(), !text.is_null()) << rendered.status();
      if (rendered.ok() && text.is_string()) {
        EXPECT_EQ(*rendered, text.get<std::string>());
      }
    }
  }
}

TEST_F(ChatTemplateTest, TakesTheModelsOwn) {
  const Json messages = {{{"role", "user"}, {"content", "x"}}};
  const auto none = Render("", messages);
  EXPECT_EQ(ReasonOf(none.status()), Reason::kDatasetInvalid);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("--chat-template"));
  Put("chat_template.json", {{"chat_template", "third"}});
  EXPECT_EQ(*Render("", messages), "third");
  const Json list = {{{"name", "tool_use"}, {"template", "tools"}},
                     {{"name", "default"}, {"template", "{{ bos_token }}second"}}};
  Put("tokenizer_config.json",
      {{"chat_template", list}, {"bos_token", {{"content", "<s>"}, {"special", true}}}});
  EXPECT_EQ(*Render("", messages), "<s>second");
  ASSERT_TRUE(WriteFileAtomic(folder_.path() + "/chat_template.jinja", "first").ok());
  EXPECT_EQ(*Render("", messages), "first");
  EXPECT_EQ(*Render("{{ messages[0].content }}{{ eos_token }}", messages), "x");
}

TEST_F(ChatTemplateTest, RefusesWhatIsNoTemplateAndWhatNeverEnds) {
  const auto broken = Render("{% for x in %}", Json::array());
  EXPECT_EQ(ReasonOf(broken.status()), Reason::kDatasetInvalid);
  EXPECT_EQ(ReasonOf(Render(std::string(2 << 20, 'x'), Json::array()).status()),
            Reason::kDatasetInvalid);
  const auto endless =
      Render("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
             Json::array());
  EXPECT_FALSE(endless.ok());
  const auto refused = Render("{{ raise_exception('not this one') }}", Json::array());
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("not this one"));
  EXPECT_FALSE(Render("{% include 'other' %}", Json::array()).ok());
  EXPECT_FALSE(Render("{{ messages.nothing.at_all }}", Json::array()).ok());
}

}  // namespace
}  // namespace quantd
