// A conversation as the text that a model was trained on: the Jinja template of its tokenizer, run
// by the `minijinja` crate (tokenizers_bridge/) as transformers' apply_chat_template runs it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/tensor/model_files.h"

namespace quantd {

class ChatTemplate {
 public:
  // `given`: the source of a template; empty: the model's own (chat_template.jinja,
  // tokenizer_config .json or chat_template.json, the one named "default" of several). Special
  // tokens come from tokenizer_config.json and special_tokens_map.json. Nothing is run.
  // DATASET_INVALID where the model has none, or the source is no template.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Open(const ModelFiles& files,
                                                                  const std::string& given);
  virtual ~ChatTemplate() = default;

  // The text of `messages`, an array of {"role", "content"} and whatever else the template reads;
  // `tools` is null where there are none. No generation prompt; the day is 2024-07-26 for every
  // template that asks, so that the same text comes out tomorrow. Work is bounded, memory is not: a
  // process that serves others does not render. Fails with what the template says, where it refuses
  // the conversation (INVALID_FIELD).
  virtual absl::StatusOr<std::string> Render(const Json& messages, const Json& tools) const = 0;
  virtual const std::string& source() const = 0;
};

}  // namespace quantd
