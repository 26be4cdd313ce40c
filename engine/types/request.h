// Everything that one quantization needs to know. The command line, the gRPC API and the runner all
// end in this struct.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/recipe.h"

namespace quantd {

struct CalibrationRequest {
  std::string text = "builtin:calibration";  // a path, or "builtin:calibration"
  std::string text_field;                    // of records: a text or messages; "": text or messages
  std::string chat_template;                 // Jinja source, for messages; "": the model's own
  int64_t samples = 0;                       // windows; 0: what the recipe's methods need
  int64_t tokens_per_sample = 512;
  uint64_t seed = 0;
  // Folders of statistics (engine/calibrate/statistics_folder.h), where this process runs: blocks
  // that the first has are not calibrated again, the second gets those of every block. "": none.
  std::string statistics_folder, save_statistics_folder;
  bool operator==(const CalibrationRequest&) const = default;
};

struct EvaluationRequest {
  bool enabled = true;
  std::string text = "builtin:evaluation";  // a path, or "builtin:evaluation"
  std::string text_field, chat_template;    // as of CalibrationRequest
  int64_t windows = 64;
  int64_t tokens_per_window = 512;
  int64_t logits_windows = 0;  // write quantd/logits.safetensors: both models' logits of that many
                               // windows, to check a loader against (0..64)
  bool analyze = false;  // measure what protected channels and other levels would gain (of weight-
                         // only schemes): LayerReport::analysis
  bool operator==(const EvaluationRequest&) const = default;
};

// What the result must reach; a job that misses it fails with QUALITY_GATE, its files kept.
struct QualityGate {
  std::optional<double> max_perplexity_ratio;  // quantized / original, for example 1.02
  std::optional<double> max_mean_kl;           // nats per token
  std::optional<double> min_top1_agreement;    // 0..1
  bool operator==(const QualityGate&) const = default;
};

struct OutputRequest {
  std::string format;           // registry name; empty: the first that holds the recipe
  std::string loader;           // "", "transformers", "vllm", "sglang", "llama.cpp"
  int64_t tensor_parallel = 1;  // devices that the loader splits each linear over
  bool sync = true;  // weights are on the disk before their file has its name; false: as cp does
  int64_t shard_bytes = int64_t{5} << 30;  // shards hold at most this many bytes of tensors
  bool operator==(const OutputRequest&) const = default;
};

// The precision of the forward pass. kAuto: what the backend is fastest in without losing accuracy
// (the CPU: bf16 for bf16 models where the machine has AMX, else f32).
enum class ComputeType { kAuto, kF32, kBF16 };
std::string_view NameOf(ComputeType compute);  // "auto", "f32", "bf16"

struct ResourceRequest {
  std::string backend = "any";   // "cpu", "cuda", "any"
  int threads = 0;               // 0: all CPUs of the process
  int64_t max_memory_bytes = 0;  // 0: no limit
  ComputeType compute = ComputeType::kAuto;
  bool operator==(const ResourceRequest&) const = default;
};

struct QuantizeRequest {
  std::string model_folder;
  // Folders that the model's files and the texts must lie in, wherever links lead; empty: anywhere.
  // Set by a server, which reads for strangers.
  std::vector<std::string> model_roots;
  std::string output_folder;
  Recipe recipe;
  CalibrationRequest calibration;
  EvaluationRequest evaluation;
  QualityGate gate;
  OutputRequest output;
  ResourceRequest resources;
  bool operator==(const QuantizeRequest&) const = default;
};

// The JSON that the runner process reads. Unknown keys are refused.
Json ToJson(const QuantizeRequest& request);
absl::StatusOr<QuantizeRequest> QuantizeRequestFromJson(const Json& json);

}  // namespace quantd
