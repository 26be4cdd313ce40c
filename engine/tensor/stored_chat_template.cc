#include "engine/tensor/stored_chat_template.h"

#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFileBytes = 16 << 20;

// A template, or the one named "default" of a list of {"name", "template"}.
std::optional<std::string> TemplateIn(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const Json& entry : *found) {
    const auto name = entry.is_object() ? entry.find("name") : entry.end();
    if (name == entry.end() || *name != "default") continue;
    const auto text = entry.find("template");
    if (text != entry.end() && text->is_string()) return text->get<std::string>();
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::optional<std::string>> StoredChatTemplate(const ModelFiles& files,
                                                              const Json& tokenizer_config) {
  constexpr const char* kOwn = "chat_template.jinja";
  constexpr const char* kOfProcessor = "chat_template.json";
  if (files.Has(kOwn)) return files.ReadText(kOwn, kMaxFileBytes);
  if (auto found = TemplateIn(tokenizer_config); found.has_value()) return found;
  if (!files.Has(kOfProcessor)) return std::nullopt;
  QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(kOfProcessor, kMaxFileBytes));
  QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, files.Where(kOfProcessor)));
  return json.is_object() ? TemplateIn(json) : std::nullopt;
}

}  // namespace quantd
