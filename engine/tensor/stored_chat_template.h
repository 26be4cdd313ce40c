// The chat template that a model brings with it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// Looked for where transformers looks, in its order: chat_template.jinja, "chat_template" of
// tokenizer_config.json (a text, or the one named "default" of several), that of
// chat_template.json, as processors of several media write it. Nothing where there is none. Errors:
// those of reading.
absl::StatusOr<std::optional<std::string>> StoredChatTemplate(const ModelFiles& files,
                                                              const Json& tokenizer_config);

}  // namespace quantd
