// What the engine tells while it works. The runner writes these as JSON lines, the CLI draws them,
// the server stores and streams them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/types/layer_analysis.h"
#include "engine/types/scheme.h"

namespace quantd {

enum class Stage { kOpen, kCalibrate, kQuantize, kEvaluate, kWrite, kDone };
std::string_view NameOf(Stage stage);  // "open", "calibrate", …
std::optional<Stage> StageByName(std::string_view name);

struct ProgressReport {
  Stage stage = Stage::kOpen;
  int64_t blocks_done = 0, blocks_total = 0;
  int64_t tokens = 0;  // pushed through the forward pass so far
  int64_t bytes_read = 0, bytes_written = 0;
  double eta_seconds = 0;  // 0: not known yet
};

// One per linear, as soon as it is quantized.
struct LayerReport {
  std::string name;  // module
  int64_t out_features = 0, in_features = 0;
  std::string method;
  int bits = 0;
  int64_t group_size = 0;  // 0: channel or tensor
  bool symmetric = true;
  std::string scale_rule, granularity, activations;
  double weight_snr_db = 0;  // 10 log10(sum w^2 / sum (w - w')^2); +inf is written as 999
  std::optional<double> relative_output_error = std::nullopt;  // ||X dW^T|| / ||X W^T|| on sampled
                                                               // tokens, when there are activations
  Figures figures;                                             // of the method: {"alpha", 0.35}
  double seconds = 0;
  std::optional<LayerAnalysis> analysis = std::nullopt;  // when it was asked for
};

// Receives reports, one at a time, though not always from the same thread.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void OnProgress(const ProgressReport& report) = 0;
  virtual void OnLayer(const LayerReport& report) = 0;
  // The file is complete under its name; path is relative to the output folder.
  virtual void OnFile(const SealedFile& file) = 0;
  virtual void OnWarning(std::string_view text) = 0;
  // Asked between panels of rows, from any thread: true stops the work with CANCELLED.
  virtual bool Cancelled() = 0;
};

Json ToJson(const ProgressReport& report);
Json ToJson(const LayerReport& report);
Json ToJson(const SealedFile& file);
absl::StatusOr<ProgressReport> ProgressReportFromJson(const Json& json);
absl::StatusOr<LayerReport> LayerReportFromJson(const Json& json);
absl::StatusOr<SealedFile> SealedFileFromJson(const Json& json);

}  // namespace quantd
