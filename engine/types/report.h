// The result of a quantization: report.json, and what JobResult carries. Schema: docs/report.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/progress.h"
#include "engine/types/request.h"

namespace quantd {

// How many tokens have which KL: bins of equal width in log10 between `low` and `high`. The first
// also has all that is smaller (0, or less than 0 by rounding), the last all that is larger.
struct DivergenceHistogram {
  static constexpr int kBins = 40;
  double low = 1e-7, high = 10;  // nats
  std::vector<int64_t> counts;   // empty: not counted

  // One value more, into one of kBins. NaN counts as large.
  void Add(double divergence);
  // The lower edge of bin `index`; counts.size() gives the upper edge of the last one.
  double Edge(size_t index) const;
  bool operator==(const DivergenceHistogram&) const = default;
};

struct EvaluationResult {
  int64_t tokens = 0;  // predictions scored
  double perplexity_original = 0;
  double perplexity_quantized = 0;
  double kl_mean = 0, kl_p99 = 0;  // nats per token, KL(original || quantized)
  double top1_agreement = 0;       // 0..1
  DivergenceHistogram kl_histogram = {};
};

struct GateVerdict {
  bool passed = true;
  std::vector<std::string> missed = {};  // one line per limit missed
  std::vector<std::string> limits = {};  // one line per limit set; empty: there was no gate
};

struct Report {
  int schema = 1;
  std::string engine_version;
  std::string model_name;  // of the folder it was read from
  std::string model_fingerprint, family;
  int64_t parameters = 0;
  std::string backend, isa, compute;
  Recipe recipe;                         // as asked
  Json resolved_recipe = Json::array();  // one entry per linear
  std::string calibration_digest;        // empty: no calibration was needed
  int64_t calibration_tokens = 0;
  uint64_t calibration_seed = 0;
  std::string evaluation_digest;
  std::optional<EvaluationResult> evaluation;
  GateVerdict gate;
  std::string format;
  int64_t bytes_original = 0, bytes_quantized = 0;
  double bits_per_weight = 0;
  std::vector<std::pair<Stage, double>> seconds;  // per stage, in order
  double seconds_total = 0;
  int64_t peak_rss_bytes = 0;
  std::vector<LayerReport> layers;
  std::vector<CacheReport> cache;  // of all blocks, in order, where the recipe has kv_cache
  std::vector<SealedFile> files;   // the manifest: everything but manifest.json itself
  std::vector<std::string> warnings;
};

Json ToJson(const Report& report);
absl::StatusOr<Report> ReportFromJson(const Json& json);

// What in `report` missed the gate.
GateVerdict CheckGate(const QualityGate& gate, const std::optional<EvaluationResult>& evaluation);

}  // namespace quantd
