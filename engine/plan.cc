#include "engine/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/calibrate/gatherer.h"
#include "engine/method/registry.h"
#include "engine/model/registry.h"
#include "engine/plan_container.h"
#include "engine/text/windows.h"

namespace quantd {
namespace {

// Texts up to this size are cut into windows while planning, so that one which is too short is
// refused at once.
constexpr size_t kCutWhilePlanningBytes = 4 << 20;
// Rates for the time estimate, of two cores of a 2023 server: see docs/numerics.md. Only an
// estimate.
constexpr double kBytesPerSecond = 1e9;
constexpr double kWeightsPerSecond = 1e8;
constexpr double kFlopsPerSecond = 2e11;
// What the program needs beside what is counted below: code, allocator, tokenizer.
constexpr int64_t kBaseMemoryBytes = 64 << 20;
// Rows of one panel times threads, several buffers of f32: see LinearQuantizer.
constexpr int64_t kPanelMemoryBytes = 8 << 20;

std::string FormatNames() {
  std::string names;
  for (const Format& format : Formats())
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(format.name));
  return names;
}

absl::StatusOr<const Format*> PickFormat(const OutputRequest& output) {
  const Format* format = FindFormat(output.format);
  if (format == nullptr) {
    return MakeError(
        Reason::kFormatCannotHold, "refused",
        Violation{
            .where = "output.format", .got = output.format, .wanted = "one of " + FormatNames()});
  }
  const auto reads = [&](const LoaderRow& loader) { return loader.name == output.loader; };
  if (!output.loader.empty() &&
      std::none_of(format->loaders.begin(), format->loaders.end(), reads)) {
    std::string names;
    for (const LoaderRow& loader : format->loaders)
      absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(loader.name));
    return MakeError(Reason::kLoaderRefuses, "refused",
                     Violation{.where = "output.loader",
                               .got = output.loader,
                               .wanted = "an engine that reads " + output.format + ": " + names});
  }
  return format;
}

// The tensors that stand for one linear: packed ones, or its weight as it was.
std::vector<TensorInfo> TensorsOf(const ResolvedLinear& entry, const Format& format,
                                  const Checkpoint& checkpoint, const ModelSpec& model) {
  const LinearSpec& linear = *entry.linear;
  std::vector<TensorInfo> tensors;
  if (entry.scheme.has_value()) {
    tensors = format.tensors(linear, *entry.scheme);
    for (TensorInfo& tensor : tensors) tensor.name = linear.name + "." + tensor.name;
  } else {
    const std::string name =
        linear.role == LinearRole::kHead ? model.head_tensor : linear.name + ".weight";
    tensors.push_back(AsStored(*checkpoint.Find(name), format, model));
  }
  return tensors;
}

void WarnOfOthers(const std::vector<std::string>& names, std::vector<std::string>& warnings) {
  if (names.empty()) return;
  const std::string more =
      names.size() == 1 ? " is" : absl::StrCat(" and ", names.size() - 1, " others are");
  warnings.push_back(names.front() + more +
                     " not part of the model's family; what is not is carried over as it is");
}

// Every tensor of the artifact, in the order in which they are made: embedding, blocks, the rest. A
// tensor that the model does not use is carried over; the copy of a tied output projection is not.
std::vector<TensorInfo> OutputTensors(const PlannedQuantization& planned,
                                      std::vector<std::string>& warnings) {
  const Plan& plan = planned.plan;
  const ModelSpec& model = plan.model;
  const Checkpoint& checkpoint = planned.checkpoint;
  std::vector<TensorInfo> tensors;
  std::set<std::string, std::less<>> done;
  const auto copy = [&](const std::string& name) {
    const TensorInfo* info = name.empty() ? nullptr : checkpoint.Find(name);
    if (info == nullptr || !done.insert(name).second) return;
    tensors.push_back(AsStored(*info, *plan.format, model));
  };
  if (plan.embedding.has_value()) {
    done.insert(model.embedding);
    for (TensorInfo& tensor : TensorsOf(*plan.embedding, *plan.format, checkpoint, model)) {
      tensors.push_back(std::move(tensor));
    }
  } else {
    copy(model.embedding);
  }
  copy(model.positions);
  size_t next = 0;
  for (const BlockSpec& block : model.blocks) {
    for (const std::string& norm : block.NormTensors()) copy(norm);
    for (const LinearSpec& linear : block.linears) {
      done.insert(linear.name + ".weight");
      for (TensorInfo& tensor : TensorsOf(plan.linears[next++], *plan.format, checkpoint, model)) {
        tensors.push_back(std::move(tensor));
      }
      if (linear.has_bias) copy(linear.name + ".bias");
    }
  }
  copy(model.final_norm.gain);
  copy(model.final_norm.bias);
  if (!model.tied_embeddings) {
    done.insert(model.head_tensor);
    for (TensorInfo& tensor : TensorsOf(plan.linears[next], *plan.format, checkpoint, model))
      tensors.push_back(tensor);
  } else if (done.insert(model.head.name + ".weight").second &&
             checkpoint.Find(model.head.name + ".weight") != nullptr) {
    warnings.push_back(model.head.name +
                       ".weight is tied to the embedding and is not written twice");
  }
  std::vector<std::string> others;
  for (const TensorInfo* info : checkpoint.Tensors()) {
    if (done.contains(info->name)) continue;
    if (!HasPlace(*info, *plan.format, model)) {
      warnings.push_back(info->name + " is not part of the model's family; it is left out");
      continue;
    }
    others.push_back(info->name);
    tensors.push_back(*info);
  }
  WarnOfOthers(others, warnings);
  return tensors;
}

// Fills shards in order; a shard holds at least one tensor and at most `shard_bytes` if it can.
std::vector<PlannedShard> CutShards(std::vector<TensorInfo> tensors, int64_t shard_bytes) {
  std::vector<PlannedShard> shards(1);
  int64_t bytes = 0;
  for (TensorInfo& tensor : tensors) {
    if (!shards.back().tensors.empty() && bytes + tensor.bytes() > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += tensor.bytes();
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

absl::Status PlanFiles(const PlannedQuantization& planned, Plan& plan) {
  std::vector<TensorInfo> tensors = OutputTensors(planned, plan.warnings);
  if (plan.format->container != nullptr) {
    return LayOutContainer(planned.request, std::move(tensors), plan);
  }
  plan.shards = CutShards(std::move(tensors), planned.request.output.shard_bytes);
  return absl::OkStatus();
}

void CountSizes(const Checkpoint& checkpoint, Plan& plan) {
  plan.bytes_original = checkpoint.total_bytes();
  for (const PlannedShard& shard : plan.shards) {
    for (const TensorInfo& tensor : shard.tensors) plan.bytes_quantized += tensor.bytes();
  }
  int64_t weights = 0, bits = 0;
  for (const ResolvedLinear& entry : plan.linears) {
    if (entry.linear->role == LinearRole::kHead && !entry.scheme.has_value()) continue;
    weights += entry.linear->parameters();
    if (entry.scheme.has_value()) {
      bits += StorageBits(*entry.scheme, entry.linear->out_features, entry.linear->in_features);
    } else {
      bits += 8 * SizeOf(plan.model.dtype) * entry.linear->parameters();
    }
  }
  plan.bits_per_weight =
      weights == 0 ? 0 : static_cast<double>(bits) / static_cast<double>(weights);
}

int64_t BlockParameters(const ModelSpec& model) {
  int64_t most = 0;
  for (const BlockSpec& block : model.blocks) {
    int64_t parameters = 0;
    for (const LinearSpec& linear : block.linears) parameters += linear.parameters();
    most = std::max(most, parameters);
  }
  return most;
}

// What a method makes of one Gram matrix of `gram` elements while it prepares a linear: the matrix
// as folded, GPTQ's factor, and the whole Hessian where codes are refitted by it.
int64_t PreparedBytes(const Scheme& scheme, int64_t gram) {
  const int64_t copies = FindMethod(scheme.method)->fold != nullptr ? 1 : 0;
  return (copies + 1 + (scheme.options.Integer("refit") > 0 ? 1 : 0)) * gram * 4;
}

// Statistics of the inputs of one block: Gram matrices, the inputs of a batch while those are
// summed, and what is prepared of one of them.
int64_t StatisticsBytes(const QuantizeRequest& request, const Plan& plan, int64_t threads) {
  if (plan.statistics.gram_block == 0) return 0;
  const int64_t batch = WindowsAtOnce(threads) * request.calibration.tokens_per_sample;
  int64_t most = 0, bytes = 0, prepared = 0;
  int block = -1, input = -1;
  for (const ResolvedLinear& entry : plan.linears) {
    const LinearSpec& linear = *entry.linear;
    if (linear.block != block) bytes = prepared = 0;
    const bool seen = linear.block == block && linear.input == input;
    block = linear.block;
    input = linear.input;
    if (seen || !entry.scheme.has_value()) continue;
    const int64_t asked = FindMethod(entry.scheme->method)->needs(*entry.scheme).gram_block;
    if (asked == 0) continue;
    const int64_t k = linear.in_features;
    const int64_t gram = k * (asked == kWholeGram || k % asked != 0 ? k : asked);
    bytes += batch * k * 4 + gram * 4;
    prepared = std::max(prepared, PreparedBytes(*entry.scheme, gram));
    most = std::max(most, bytes + prepared);
  }
  return most;
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

void EstimateCost(const QuantizeRequest& request, Plan& plan) {
  const ModelSpec& model = plan.model;
  const int64_t threads =
      request.resources.threads > 0 ? request.resources.threads : AvailableCpus();
  plan.peak_memory_bytes = kBaseMemoryBytes + threads * kPanelMemoryBytes + WholeLinearBytes(plan);
  double weights = 0;
  int64_t largest = 0;
  for (const ResolvedLinear& entry : plan.linears) {
    if (!entry.scheme.has_value()) continue;
    weights += static_cast<double>(entry.linear->parameters());
    largest = std::max(largest, entry.linear->parameters());
  }
  // The codes of one linear.
  if (plan.format->pack == nullptr) plan.peak_memory_bytes += largest;
  plan.estimated_seconds =
      static_cast<double>(plan.bytes_original + plan.bytes_quantized) / kBytesPerSecond +
      weights / kWeightsPerSecond;
  if (!plan.needs_forward) return;

  const bool calibrates = plan.statistics.any();
  const int64_t calibration_tokens =
      calibrates ? request.calibration.samples * request.calibration.tokens_per_sample : 0;
  const int64_t evaluation_tokens =
      request.evaluation.enabled ? request.evaluation.windows * request.evaluation.tokens_per_window
                                 : 0;
  const int64_t tokens = calibration_tokens + 2 * evaluation_tokens;
  const int64_t block = BlockParameters(model);
  const int64_t head = model.vocabulary * model.hidden;
  const bool runs_quantized =
      request.evaluation.enabled || request.recipe.propagate == Propagate::kQuantized;
  // A prepared copy of a block, where the quantized block runs too a second one and its codes; the
  // output projection; the activations of all streams; one tile of logits and the working
  // space of one window per thread.
  plan.peak_memory_bytes +=
      (runs_quantized ? 9 : 4) * block + head * 4 + tokens * model.hidden * 4 +
      threads *
          (2 * 128 * model.vocabulary * 4 +
           request.evaluation.tokens_per_window * (6 * model.hidden + 2 * model.intermediate) * 4);
  plan.peak_memory_bytes += StatisticsBytes(request, plan, threads);
  const double flops = 2.0 * static_cast<double>(tokens) *
                       (static_cast<double>(block) * static_cast<double>(model.blocks.size()) +
                        static_cast<double>(head));
  plan.estimated_seconds += flops / kFlopsPerSecond;
}

absl::Status CheckText(const std::string& field, const std::string& source,
                       const WindowOptions& options, const Tokenizer& tokenizer,
                       const ModelSpec& model) {
  if (options.tokens > model.max_positions) {
    return MakeError(Reason::kDatasetInvalid, "refused",
                     Violation{.where = field + ".tokens",
                               .got = absl::StrCat(options.tokens),
                               .wanted = absl::StrCat("at most the model's ", model.max_positions,
                                                      " positions")});
  }
  QD_ASSIGN_OR_RETURN(const std::string text, ReadText(source));
  if (text.size() > kCutWhilePlanningBytes) return absl::OkStatus();
  return CutWindows(text, tokenizer, options).status();
}

absl::Status CheckTexts(const QuantizeRequest& request, const Plan& plan) {
  if (!plan.needs_forward) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(request.model_folder));
  if (plan.statistics.any()) {
    QD_RETURN_IF_ERROR(CheckText("calibration", request.calibration.text,
                                 CalibrationWindows(request), *tokenizer, plan.model));
  }
  if (request.evaluation.enabled) {
    QD_RETURN_IF_ERROR(CheckText("evaluation", request.evaluation.text, EvaluationWindows(request),
                                 *tokenizer, plan.model));
  }
  return absl::OkStatus();
}

absl::Status CheckCanBeMeasured(const QuantizeRequest& request) {
  if (request.evaluation.analyze && !request.evaluation.enabled) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "evaluation.analyze",
                               .got = "an analysis without evaluation",
                               .wanted = "evaluation.enabled"});
  }
  const QualityGate& gate = request.gate;
  const bool asked = gate.max_perplexity_ratio || gate.max_mean_kl || gate.min_top1_agreement;
  if (!asked || request.evaluation.enabled) return absl::OkStatus();
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{
          .where = "gate", .got = "a gate without evaluation", .wanted = "evaluation.enabled"});
}

// Statistics behind quantized blocks depend on how those were quantized: they are of use to no
// other run.
absl::Status CheckSavedStatistics(const QuantizeRequest& request, Plan& plan) {
  const CalibrationRequest& calibration = request.calibration;
  if (calibration.statistics_folder.empty() && calibration.save_statistics_folder.empty()) {
    return absl::OkStatus();
  }
  if (request.recipe.propagate == Propagate::kQuantized) {
    const bool reads = !calibration.statistics_folder.empty();
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = reads ? "calibration.statistics_folder"
                                              : "calibration.save_statistics_folder",
                               .got = "a folder, with propagate quantized",
                               .wanted = "propagate original"});
  }
  if (!plan.statistics.any()) {
    plan.warnings.push_back("no method of the recipe asks for statistics: none are read or saved");
  }
  return absl::OkStatus();
}

}  // namespace

WindowOptions CalibrationWindows(const QuantizeRequest& request) {
  return {.windows = request.calibration.samples,
          .tokens = request.calibration.tokens_per_sample,
          .seed = request.calibration.seed};
}

WindowOptions EvaluationWindows(const QuantizeRequest& request) {
  return {.windows = request.evaluation.windows,
          .tokens = request.evaluation.tokens_per_window,
          .seed = 0};
}

absl::StatusOr<std::unique_ptr<PlannedQuantization>> MakePlan(const QuantizeRequest& request) {
  QD_RETURN_IF_ERROR(CheckCanBeMeasured(request));
  QD_RETURN_IF_ERROR(FindBackend(request.resources.backend).status());
  auto planned = std::make_unique<PlannedQuantization>();
  planned->request = request;
  QD_ASSIGN_OR_RETURN(planned->checkpoint, Checkpoint::Open(request.model_folder));
  Plan& plan = planned->plan;
  QD_ASSIGN_OR_RETURN(plan.model, ReadModelSpec(request.model_folder, planned->checkpoint));
  QD_ASSIGN_OR_RETURN(plan.linears, ResolveRecipe(request.recipe, plan.model));
  QD_ASSIGN_OR_RETURN(plan.format, PickFormat(request.output));
  QD_RETURN_IF_ERROR(CheckBlocks(plan));
  if (plan.format->settle != nullptr) plan.format->settle(plan.linears, plan.model);
  QD_RETURN_IF_ERROR(plan.format->accepts(
      plan.linears, plan.model,
      {.name = request.output.loader, .tensor_parallel = request.output.tensor_parallel}));
  QD_RETURN_IF_ERROR(PlanEmbedding(request.recipe, plan));
  for (const ResolvedLinear& entry : plan.linears) {
    if (entry.scheme.has_value())
      plan.statistics = plan.statistics | FindMethod(entry.scheme->method)->needs(*entry.scheme);
  }
  QD_RETURN_IF_ERROR(CheckSavedStatistics(request, plan));
  plan.needs_forward = plan.statistics.any() || request.evaluation.enabled;
  if (plan.needs_forward) QD_RETURN_IF_ERROR(CheckRunnable(plan.model));
  QD_RETURN_IF_ERROR(PlanFiles(*planned, plan));
  CountSizes(planned->checkpoint, plan);
  EstimateCost(request, plan);
  QD_RETURN_IF_ERROR(CheckTexts(request, plan));
  const int64_t limit = request.resources.max_memory_bytes;
  if (limit > 0 && plan.peak_memory_bytes > limit) {
    return MakeError(
        Reason::kMemoryBudget, "refused",
        Violation{.where = "resources.max_memory_bytes",
                  .got = absl::StrCat(limit),
                  .wanted = absl::StrCat("at least ", plan.peak_memory_bytes, " by the estimate")});
  }
  return planned;
}

Json ToJson(const Plan& plan) {
  Json linears = Json::array();
  for (const ResolvedLinear& entry : plan.linears) {
    Json item = ToJson(entry);
    item["shape"] = {entry.linear->out_features, entry.linear->in_features};
    linears.push_back(std::move(item));
  }
  Json shards = Json::array();
  for (const PlannedShard& shard : plan.shards) {
    int64_t bytes = 0;
    for (const TensorInfo& tensor : shard.tensors) bytes += tensor.bytes();
    shards.push_back({{"file", shard.file}, {"tensors", shard.tensors.size()}, {"bytes", bytes}});
  }
  return {{"family", plan.model.family},
          {"architecture", plan.model.architecture},
          {"parameters", plan.model.parameters},
          {"blocks", plan.model.blocks.size()},
          {"format", plan.format->name},
          {"bytes_original", plan.bytes_original},
          {"bytes_quantized", plan.bytes_quantized},
          {"bits_per_weight", plan.bits_per_weight},
          {"needs_forward", plan.needs_forward},
          {"peak_memory_bytes", plan.peak_memory_bytes},
          {"estimated_seconds", plan.estimated_seconds},
          {"shards", std::move(shards)},
          {"linears", std::move(linears)},
          {"warnings", plan.warnings}};
}

}  // namespace quantd
