// Text to token ids by the Hugging Face `tokenizers` crate, through a small C ABI
// (tokenizers_bridge/). Exact for every model that has a tokenizer.json; never re-implemented.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// Thread-safe.
class Tokenizer {
 public:
  // Reads tokenizer.json of a model. Errors: MODEL_CORRUPT; MODEL_UNSUPPORTED when only
  // another kind of tokenizer file is there (tokenizer.model), saying how to convert it.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const ModelFiles& files);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);
  virtual ~Tokenizer() = default;

  // DATASET_INVALID for text that is not UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      bool add_special_tokens) const = 0;
  virtual absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids) const = 0;
  virtual int64_t vocabulary_size() const = 0;
  // What it adds before and after a text when asked to: the ids of BOS and EOS, or none.
  virtual const std::vector<int32_t>& prefix() const = 0;
  virtual const std::vector<int32_t>& suffix() const = 0;
};

}  // namespace quantd
