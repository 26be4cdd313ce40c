// Reads config.json for the parsers of the families: numbers against ranges, features against what
// we have, all problems at once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/json.h"
#include "engine/types/model_spec.h"

namespace quantd {

class ConfigReader {
 public:
  static constexpr int64_t kMostLayers = 4096;
  static constexpr int64_t kWidest = int64_t{1} << 20;
  static constexpr int64_t kMostHeads = int64_t{1} << 16;
  static constexpr int64_t kWidestHead = 1024;
  static constexpr int64_t kLargestVocabulary = int64_t{1} << 24;
  static constexpr int64_t kMostPositions = int64_t{1} << 30;
  static constexpr int64_t kMostExperts = 4096;

  // `config` outlives the reader.
  explicit ConfigReader(const Json& config) : config_(config), fields_(config, "config.json") {}

  const Json& config() const { return config_; }
  JsonFields& fields() { return fields_; }

  // Notes a model that is quantized already as unsupported, unless its checkpoint is read as floats
  // (FP8: engine/tensor/float8_source.h).
  void RefuseQuantized();
  // RefuseQuantized, and architectures[0], which must be a causal language model.
  std::string ReadArchitecture();
  // The first of `keys` that is there, from 1 to `high`; a problem if none is.
  int64_t Required(std::initializer_list<std::string_view> keys, int64_t high);
  // The first of `keys` that is there and not null, or `fallback`.
  int64_t Optional(std::initializer_list<std::string_view> keys, int64_t fallback, int64_t high);
  // A positive number; empty where the key is not there, null or 0.
  std::optional<double> Positive(std::string_view key, std::optional<double> fallback);
  Activation ReadActivation(std::string_view key, std::string_view fallback);
  // Heads and their width against each other.
  void CheckHeads(const ModelSpec& model);
  // head_dim = hidden / heads, and the same.
  void SplitHidden(ModelSpec& model);
  // Notes a feature that we lack.
  void Unsupported(std::string_view key, std::string_view got, std::string_view wanted);
  std::vector<Violation>& unsupported() { return unsupported_; }

  // MODEL_CORRUPT with every value that is wrong, else MODEL_UNSUPPORTED with every feature we
  // lack.
  absl::Status Finish();
  // The first half of it: later steps divide by numbers that were read.
  absl::Status FinishValues();

 private:
  const Json& config_;
  JsonFields fields_;
  std::vector<Violation> unsupported_;
};

// MODEL_CORRUPT with the problems of `status`.
absl::Status CorruptConfig(const absl::Status& status);

}  // namespace quantd
