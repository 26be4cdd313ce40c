// What is inside a model folder or a GGUF file, quantized or not, by whatever tool.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/inspect/finding.h"

namespace quantd {

enum class ReadContents { kAll, kHeadersOnly };

struct InspectOptions {
  // Headers alone take milliseconds; NaN, zero scales and wrong indices are found only in contents.
  ReadContents contents = ReadContents::kAll;
  // An engine whose refusals are problems, not notes: "vllm", "sglang", "transformers",
  // "llama.cpp"; empty: none.
  std::string loader;
};

struct InspectedTensor {
  std::string name;
  std::string type;            // "BF16", "I32", "Q4_K"
  std::vector<int64_t> shape;  // row-major, also for GGUF
  int64_t bytes = 0;
  std::string file;
};

// A matrix of the model: a linear, an embedding.
struct InspectedModule {
  std::string name;
  std::string scheme;  // "int4 g128 asym", "bf16", "Q4_K"
  bool quantized = false;
  int64_t out_features = 0, in_features = 0;
  int64_t bytes = 0;  // scales, zero points and indices included; biases not
  int64_t parameters() const { return out_features * in_features; }
};

struct InspectedFile {
  std::string name;
  int64_t bytes = 0;
};

struct Inspection {
  std::string path;
  std::string kind;          // "safetensors", "gguf"
  std::string family;        // model_type; "" if the files do not say
  std::string architecture;  // architectures[0]
  std::string layout;        // "compressed-tensors pack-quantized", "awq gemm", "gguf 3", "dense"
  std::vector<InspectedFile> files;
  std::vector<InspectedTensor> tensors;  // by name
  std::vector<InspectedModule> modules;  // by name, numbers by value
  std::vector<std::string> tokenizer;    // files, or keys of a GGUF file; empty: none
  bool has_index = false;
  Json config;  // quantization_config, or the metadata of a GGUF file without long lists; may be
                // null
  int64_t parameters = 0;
  int64_t bytes = 0;  // of tensors
  // Bits that one weight takes: of the quantized matrices, and of the model with all that belongs
  // to it. 0: none.
  double bits_quantized = 0, bits_overall = 0;
  Findings findings;
};

// Damage is a finding, not an error. Errors: MODEL_NOT_FOUND if `path` is neither a folder with
// weights nor a GGUF file; INVALID_FIELD for a loader that nobody knows.
absl::StatusOr<Inspection> Inspect(const std::string& path, const InspectOptions& options);

// Every field; modules and tensors as lists.
Json ToJson(const Inspection& inspection);

// Modules that differ in the number of their block alone, in the order of the first of each.
struct ModuleGroup {
  std::string label;  // "self_attn.q_proj", "lm_head"
  std::string scheme;
  int64_t count = 0, parameters = 0, bytes = 0;
};
std::vector<ModuleGroup> GroupModules(const Inspection& inspection);

}  // namespace quantd
