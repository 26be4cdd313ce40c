#include "engine/plan/cost.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/threads.h"
#include "engine/calibrate/gatherer.h"
#include "engine/calibrate/statistics.h"
#include "engine/method/registry.h"
#include "engine/model/residual_stream.h"

namespace quantd {
namespace {

// Rates for the time estimate, of two cores of a 2023 server: see docs/numerics.md. Only an
// estimate.
constexpr double kBytesPerSecond = 1e9;
constexpr double kWeightsPerSecond = 1e8;
constexpr double kFlopsPerSecond = 2e11;
// What the program needs beside what is counted below: code, allocator, tokenizer.
constexpr int64_t kBaseMemoryBytes = 64 << 20;
// A panel of rows on one thread, in several buffers of f32: see LinearQuantizer and GptqPanel.
constexpr int64_t kPanelBytesPerWeight = 32;

int64_t BlockParameters(const ModelSpec& model) {
  int64_t most = 0;
  for (const BlockSpec& block : model.blocks) {
    int64_t parameters = 0;
    for (const LinearSpec& linear : block.linears) parameters += linear.parameters();
    most = std::max(most, parameters);
  }
  return most;
}

// Memory, by what it is for and so by when it is held.
struct MemoryParts {
  int64_t always = kBaseMemoryBytes;  // activations of all streams, output projection
  int64_t held = 0;                   // the weights of one block as they are stored
  int64_t weights = 0;                // of one block, prepared
  int64_t quantized = 0;              // the same quantized, and its codes, where it runs too
  int64_t forward = 0;                // working space of windows, and the inputs of a batch
  int64_t quantize = 0;               // panels of rows and codes while one linear is quantized
  int64_t grams = 0, factor = 0;      // whole Gram matrices of a block, and the factor of one
  int64_t touched = 0;                // of those in memory where they lie in a file

  int64_t Peak(int64_t statistics, int64_t prepared) const {
    const int64_t all_along = always + held + statistics;
    // The weights go before anything is quantized, if the quantized block does not run.
    if (quantized == 0) return all_along + std::max(weights + forward, quantize + prepared);
    return all_along + weights + quantized + std::max(forward, quantize + prepared);
  }
  int64_t InMemory() const { return Peak(grams, factor); }
  int64_t InFile() const { return Peak(touched, 0); }
};

// The statistics of one block's inputs: the most that any block has.
void CountStatistics(const QuantizeRequest& request, const Plan& plan, int64_t threads,
                     MemoryParts& parts) {
  const int64_t tokens = WindowsAtOnce(threads) * request.calibration.tokens_per_sample;
  int64_t batch = 0, most_batch = 0, grams = 0;
  int number = -1, input = -1;
  for (const ResolvedLinear& entry : plan.linears) {
    const LinearSpec& linear = *entry.linear;
    if (linear.block != number) batch = grams = 0;
    const bool seen = linear.block == number && linear.input == input;
    number = linear.block;
    input = linear.input;
    if (seen || !entry.scheme.has_value()) continue;
    const int64_t asked = FindMethod(entry.scheme->method)->needs(*entry.scheme).gram_block;
    if (asked == 0) continue;
    const int64_t k = linear.in_features;
    batch += tokens * k * 4;
    most_batch = std::max(most_batch, batch);
    if (asked != kWholeGram && k % asked == 0) {
      batch += Gram::ElementsOf(k, asked) * 4;
      continue;
    }
    const int64_t gram = Gram::ElementsOf(k, k) * 4;
    grams += gram;
    parts.grams = std::max(parts.grams, grams);
    parts.factor = std::max(parts.factor, gram);
    // Two panels per thread, and a page of each row while rows are put in order.
    parts.touched = std::max(parts.touched, k * (threads * 2 * LowerPanels::kRows * 4 + 4096));
  }
  parts.forward += most_batch;
}

// A linear whose rows come in one call: its weights, codes and packed codes, and with groups that
// run down the columns a scale and a zero for each weight while they are chosen.
int64_t WholeLinearBytes(const Plan& plan) {
  int64_t most = 0;
  for (const ResolvedLinear& entry : plan.linears) {
    if (!entry.scheme.has_value()) continue;
    const Scheme& scheme = *entry.scheme;
    const Method& method = *FindMethod(scheme.method);
    const bool all_rows = method.all_rows != nullptr && method.all_rows(scheme);
    if (!all_rows && scheme.granularity != Granularity::kTensor) continue;
    const bool across_rows =
        scheme.options.values().contains("axis") && scheme.options.Integer("axis") == 0;
    const int64_t bytes = SizeOf(plan.model.dtype) + 2 + (across_rows ? 8 : 0);
    most = std::max(most, bytes * entry.linear->parameters());
  }
  return most;
}

// Weights of the largest linear that writes to the residual stream.
int64_t LargestWriter(const ModelSpec& model) {
  int64_t most = 0;
  for (const LinearSpec* linear : model.Linears()) {
    if (SideOf(linear->role) == ResidualSide::kWrites) most = std::max(most, linear->parameters());
  }
  return most;
}

// Without statistics. Sets plan.estimated_seconds on the way.
MemoryParts CountWork(const QuantizeRequest& request, int64_t threads, Plan& plan) {
  const ModelSpec& model = plan.model;
  MemoryParts parts;
  double weights = 0;
  int64_t largest = 0, panel = 0;
  for (const ResolvedLinear& entry : plan.linears) {
    if (!entry.scheme.has_value()) continue;
    weights += static_cast<double>(entry.linear->parameters());
    largest = std::max(largest, entry.linear->parameters());
    panel = std::max(panel, FindMethod(entry.scheme->method)->panel_weights);
  }
  parts.quantize = threads * panel * kPanelBytesPerWeight + WholeLinearBytes(plan);
  // The codes of one linear.
  if (plan.format->pack == nullptr) parts.quantize += largest;
  // A weight that is rotated as a whole, in f32, and two as they are shown.
  if (request.recipe.rotate != Rotate::kNone) {
    parts.always += LargestWriter(model) * (4 + 2 * SizeOf(model.dtype));
  }
  plan.estimated_seconds =
      static_cast<double>(plan.bytes_original + plan.bytes_quantized) / kBytesPerSecond +
      weights / kWeightsPerSecond;
  if (!plan.needs_forward) return parts;

  const bool evaluates = request.evaluation.enabled, calibrates = plan.calibrates;
  const CalibrationRequest& calibration = request.calibration;
  const EvaluationRequest& evaluation = request.evaluation;
  const int64_t window = std::max(calibrates ? calibration.tokens_per_sample : 0,
                                  evaluates ? evaluation.tokens_per_window : 0);
  const int64_t tokens = (calibrates ? calibration.samples * calibration.tokens_per_sample : 0) +
                         (evaluates ? 2 * evaluation.windows * evaluation.tokens_per_window : 0);
  const int64_t block = BlockParameters(model);
  const int64_t head = model.vocabulary * model.hidden;
  const bool runs_quantized = evaluates || request.recipe.propagate == Propagate::kQuantized;
  parts.held = SizeOf(model.dtype) * block;
  // Packed blocks, their rows where they run again, and two boundaries while one replaces the
  // other.
  plan.journal_bytes = plan.bytes_quantized + 2 * tokens * model.hidden * 4 +
                       (runs_quantized ? 2 * static_cast<int64_t>(weights) : 0);
  parts.weights = 4 * block;
  parts.quantized = runs_quantized ? 5 * block : 0;
  parts.always += plan.text_memory_bytes + tokens * (model.hidden + 1) * 4;
  // The output projection, and tiles of logits of both models.
  if (evaluates) parts.always += head * 4 + threads * 2 * 128 * model.vocabulary * 4;
  parts.forward = threads * window * (6 * model.hidden + 2 * model.intermediate) * 4;
  const double flops = 2.0 * static_cast<double>(tokens) *
                       (static_cast<double>(block) * static_cast<double>(model.blocks.size()) +
                        static_cast<double>(head));
  plan.estimated_seconds += flops / kFlopsPerSecond;
  return parts;
}

}  // namespace

absl::Status EstimateCost(const QuantizeRequest& request, Plan& plan) {
  const int64_t threads =
      request.resources.threads > 0 ? request.resources.threads : AvailableCpus();
  MemoryParts parts = CountWork(request, threads, plan);
  CountStatistics(request, plan, threads, parts);
  const int64_t limit = request.resources.max_memory_bytes;
  if (limit > 0 && parts.InMemory() > limit) parts.held = 0;
  plan.hold_weights = parts.held > 0;
  plan.peak_memory_bytes = parts.InMemory();
  if (limit <= 0 || plan.peak_memory_bytes <= limit) return absl::OkStatus();
  const int64_t least = std::min(parts.InMemory(), parts.InFile());
  if (least > limit) {
    return MakeError(Reason::kMemoryBudget, "refused",
                     Violation{.where = "resources.max_memory_bytes",
                               .got = absl::StrCat(limit),
                               .wanted = absl::StrCat("at least ", least, " by the estimate")});
  }
  plan.peak_memory_bytes = least;
  plan.scratch_folder = request.output_folder.empty() ? "." : request.output_folder;
  plan.scratch_bytes = parts.grams + parts.factor;
  plan.warnings.push_back(
      absl::StrCat("Gram matrices do not fit into the memory limit: they lie in files of ",
                   plan.scratch_bytes >> 20, " MiB in the output folder while the job runs"));
  return absl::OkStatus();
}

}  // namespace quantd
