#include "engine/text/chat_template.h"

#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/tensor/stored_chat_template.h"
#include "engine/text/bridge_text.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFileBytes = 16 << 20;
constexpr size_t kMaxTemplateBytes = 1 << 20;
constexpr const char* kConfig = "tokenizer_config.json";
constexpr std::string_view kTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

absl::Status Refused(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kDatasetInvalid, "cannot render conversations",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

// An object, or an empty one where there is no such file.
absl::StatusOr<Json> ReadObject(const ModelFiles& files, const char* name) {
  if (!files.Has(name)) return Json::object();
  QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(name, kMaxFileBytes));
  QD_ASSIGN_OR_RETURN(Json json, ParseJson(text, files.Where(name)));
  return json.is_object() ? std::move(json) : Json::object();
}

absl::StatusOr<std::string> TemplateOf(const ModelFiles& files, const Json& config) {
  QD_ASSIGN_OR_RETURN(auto found, StoredChatTemplate(files, config));
  if (found.has_value()) return *std::move(found);
  return Refused(files.location(), "a model without a chat template",
                 "--chat-template FILE (chat_template), or a text field (--text-field)");
}

// Special tokens are texts, or objects with one.
void AddTokens(const Json& from, Json& variables) {
  for (const std::string_view name : kTokens) {
    const auto found = from.find(name);
    if (found == from.end()) continue;
    const Json& token =
        found->is_object() && found->contains("content") ? (*found)["content"] : *found;
    if (token.is_string()) variables[std::string(name)] = token;
  }
}

class CompiledTemplate : public ChatTemplate {
 public:
  CompiledTemplate(QdTemplate* compiled, std::string source, Json variables)
      : compiled_(compiled), source_(std::move(source)), variables_(std::move(variables)) {}
  ~CompiledTemplate() override { qd_template_free(compiled_); }
  CompiledTemplate(const CompiledTemplate&) = delete;
  CompiledTemplate& operator=(const CompiledTemplate&) = delete;

  absl::StatusOr<std::string> Render(const Json& messages, const Json& tools) const override {
    Json context = variables_;
    context["messages"] = messages;
    context["tools"] = tools;
    context["documents"] = nullptr;
    context["add_generation_prompt"] = false;
    const std::string json = DumpJson(context);
    QdText text{};
    QdText error{};
    if (qd_template_render(compiled_, BridgeBytes(json), json.size(), &text, &error) == 0) {
      return MakeError(Reason::kInvalidField, TakeText(error));
    }
    return TakeText(text);
  }
  const std::string& source() const override { return source_; }

 private:
  QdTemplate* const compiled_;
  const std::string source_;
  const Json variables_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Open(const ModelFiles& files,
                                                                       const std::string& given) {
  QD_ASSIGN_OR_RETURN(const Json config, ReadObject(files, kConfig));
  QD_ASSIGN_OR_RETURN(const Json tokens, ReadObject(files, "special_tokens_map.json"));
  std::string source = given;
  if (source.empty()) {
    QD_ASSIGN_OR_RETURN(source, TemplateOf(files, config));
  }
  const std::string where = given.empty() ? files.location() : "chat_template";
  if (source.size() > kMaxTemplateBytes) {
    return Refused(where, "a chat template of more than 1 MiB", "a template");
  }
  Json variables = Json::object();
  AddTokens(tokens, variables);
  AddTokens(config, variables);
  QdText error{};
  QdTemplate* const compiled = qd_template_compile(BridgeBytes(source), source.size(), &error);
  if (compiled == nullptr) return Refused(where, TakeText(error), "a Jinja chat template");
  return std::make_unique<const CompiledTemplate>(compiled, std::move(source),
                                                  std::move(variables));
}

}  // namespace quantd
