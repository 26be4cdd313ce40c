#include "engine/plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "engine/backend/backend.h"
#include "engine/gguf_source/open_model.h"
#include "engine/method/registry.h"
#include "engine/model/registry.h"
#include "engine/plan/calibration_need.h"
#include "engine/plan/container.h"
#include "engine/plan/cost.h"
#include "engine/plan/kv_cache.h"
#include "engine/plan/pick_format.h"
#include "engine/plan/resolve.h"
#include "engine/plan/side_files.h"
#include "engine/rotated_source/rotated_model.h"
#include "engine/text/token_stream.h"
#include "engine/text/windows.h"

namespace quantd {
namespace {

// One matrix for all: results do not depend on what nobody would try to choose.
constexpr uint64_t kRotationSeed = 0;

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

void WarnOfQuantizedSource(const Checkpoint& checkpoint, std::vector<std::string>& warnings) {
  if (checkpoint.stored_as().empty()) return;
  warnings.push_back(absl::StrCat(
      "the model was quantized before (", checkpoint.stored_as(),
      "): its weights are read as the numbers they stand for, and every error is measured against "
      "those, not against the model they were made from"));
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
  for (size_t block = 0; block < model.blocks.size(); ++block) {
    for (const LinearSpec& linear : model.blocks[block].linears)
      done.insert(linear.name + ".weight");
    for (TensorInfo& tensor : BlockTensors(planned, static_cast<int64_t>(block))) {
      done.insert(tensor.name);
      tensors.push_back(std::move(tensor));
    }
  }
  copy(model.final_norm.gain);
  copy(model.final_norm.bias);
  if (!model.tied_embeddings) {
    done.insert(model.head_tensor);
    for (TensorInfo& tensor : TensorsOf(plan.linears.back(), *plan.format, checkpoint, model))
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
    return LayOutContainer(planned, std::move(tensors), plan);
  }
  plan.shards = CutShards(std::move(tensors), planned.request.output.shard_bytes);
  return absl::OkStatus();
}

absl::Status WarnOfFilesLeft(const ModelFiles& files, Plan& plan) {
  QD_ASSIGN_OR_RETURN(const SideFiles side, FindSideFiles(files));
  if (!side.left.empty()) {
    plan.warnings.push_back("left out: no engine that we know of reads " +
                            absl::StrJoin(side.left, ", "));
  }
  return absl::OkStatus();
}

// Experts of a layer as one tensor [experts, ., .]: they stay as they are, and count.
int64_t FusedExperts(const Checkpoint& checkpoint, Plan& plan) {
  int64_t weights = 0, bytes = 0, tensors = 0;
  std::string first;
  for (const TensorInfo* info : checkpoint.Tensors()) {
    const bool fused = info->shape.size() == 3 && IsFloat(info->dtype) &&
                       info->name.find("experts") != std::string::npos;
    if (!fused) continue;
    if (tensors++ == 0) first = info->name;
    weights += info->elements();
    bytes += info->bytes();
  }
  if (tensors == 0) return 0;
  plan.warnings.push_back(fmt::format(
      "{} and {} more tensors hold the experts of a layer as one: they stay as they are, {:.1f} of "
      "{:.1f} MB, and count in the bits per weight",
      first, tensors - 1, static_cast<double>(bytes) / 1e6,
      static_cast<double>(checkpoint.total_bytes()) / 1e6));
  return weights;
}

void CountSizes(const Checkpoint& checkpoint, Plan& plan) {
  plan.bytes_original = checkpoint.total_bytes();
  for (const PlannedShard& shard : plan.shards) {
    for (const TensorInfo& tensor : shard.tensors) plan.bytes_quantized += tensor.bytes();
  }
  int64_t weights = FusedExperts(checkpoint, plan);
  int64_t bits = 8 * SizeOf(plan.model.dtype) * weights;
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

// Texts up to this size are read to their end while planning, so that bytes which are no text are
// refused at once.
constexpr int64_t kReadWhilePlanningBytes = 4 << 20;

// That one window fills is known from the first pieces of a text. Conversations are not rendered
// here: the memory that their template takes is not bounded, and a server plans too.
absl::Status CheckText(const PlannedQuantization& planned, const std::string& field,
                       const absl::StatusOr<Text>& text, WindowOptions options,
                       const Tokenizer& tokenizer) {
  const ModelSpec& model = planned.plan.model;
  if (options.tokens > model.max_positions) {
    return MakeError(Reason::kDatasetInvalid, "refused",
                     Violation{.where = field + ".tokens",
                               .got = absl::StrCat(options.tokens),
                               .wanted = absl::StrCat("at most the model's ", model.max_positions,
                                                      " positions")});
  }
  QD_RETURN_IF_ERROR(text.status());
  if (text->bytes() <= kReadWhilePlanningBytes) QD_RETURN_IF_ERROR(text->Digest().status());
  if (text->renders()) return absl::OkStatus();
  options.windows = 1;
  options.seed = 0;
  return CutWindows(*text, tokenizer, options).status();
}

absl::Status CheckTexts(const PlannedQuantization& planned) {
  const Plan& plan = planned.plan;
  if (!plan.needs_forward) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Open(*planned.files));
  if (plan.calibrates) {
    QD_RETURN_IF_ERROR(CheckText(planned, "calibration", CalibrationText(planned),
                                 CalibrationWindows(planned), *tokenizer));
  }
  if (planned.request.evaluation.enabled) {
    QD_RETURN_IF_ERROR(CheckText(planned, "evaluation", EvaluationText(planned),
                                 EvaluationWindows(planned), *tokenizer));
  }
  return absl::OkStatus();
}

// A piece of text being encoded, and the tokenizer: its tables take some times its file.
absl::StatusOr<int64_t> TextMemory(const ModelFiles& files) {
  constexpr const char* kTokenizer = "tokenizer.json";
  constexpr int64_t kBytesPerByte = 12;
  if (!files.Has(kTokenizer)) return kPieceMemoryBytes;  // refused by CheckTexts
  QD_ASSIGN_OR_RETURN(const auto file, files.Open(kTokenizer));
  return kPieceMemoryBytes + kBytesPerByte * file->size();
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
  if (std::any_of(plan.linears.begin(), plan.linears.end(), Tunes)) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "calibration.statistics_folder",
                               .got = "a folder, with option tune",
                               .wanted = "option tune none: statistics do not have the inputs of "
                                         "blocks"});
  }
  if (!plan.statistics.any()) {
    plan.warnings.push_back("no method of the recipe asks for statistics: none are read or saved");
  }
  return absl::OkStatus();
}

// The text of a CalibrationRequest or an EvaluationRequest, which name it alike.
template <typename Section>
absl::StatusOr<Text> OpenText(const Section& section, const PlannedQuantization& planned) {
  return Text::Open(
      {.source = section.text, .field = section.text_field, .chat_template = section.chat_template},
      planned.request.model_roots, *planned.files);
}

}  // namespace

std::span<const ResolvedLinear> LinearsOf(const Plan& plan, int64_t block) {
  const std::span<const BlockSpec> blocks(plan.model.blocks);
  size_t first = 0;
  for (const BlockSpec& before : blocks.first(static_cast<size_t>(block))) {
    first += before.linears.size();
  }
  return std::span(plan.linears).subspan(first, blocks[static_cast<size_t>(block)].linears.size());
}

std::vector<TensorInfo> BlockTensors(const PlannedQuantization& planned, int64_t block) {
  const Plan& plan = planned.plan;
  const Checkpoint& checkpoint = planned.checkpoint;
  std::vector<TensorInfo> tensors;
  const auto copy = [&](const std::string& name) {
    const TensorInfo* info = checkpoint.Find(name);
    if (info != nullptr) tensors.push_back(AsStored(*info, *plan.format, plan.model));
  };
  const BlockSpec& spec = plan.model.blocks[static_cast<size_t>(block)];
  for (const std::string& norm : spec.NormTensors()) copy(norm);
  if (spec.mixture.has_value()) copy(spec.mixture->correction);
  if (planned.request.recipe.kv_cache != KvCache::kNone) {
    for (TensorInfo& tensor : CacheTensors(spec, plan.model)) tensors.push_back(std::move(tensor));
  }
  for (const ResolvedLinear& entry : LinearsOf(plan, block)) {
    for (TensorInfo& tensor : TensorsOf(entry, *plan.format, checkpoint, plan.model)) {
      tensors.push_back(std::move(tensor));
    }
    if (entry.linear->has_bias) copy(entry.linear->name + ".bias");
  }
  return tensors;
}

WindowOptions CalibrationWindows(const PlannedQuantization& planned) {
  const CalibrationRequest& calibration = planned.request.calibration;
  return {.windows = calibration.samples,
          .tokens = calibration.tokens_per_sample,
          .seed = calibration.seed,
          .vocabulary = planned.plan.model.vocabulary};
}

WindowOptions EvaluationWindows(const PlannedQuantization& planned) {
  const EvaluationRequest& evaluation = planned.request.evaluation;
  return {.windows = evaluation.windows,
          .tokens = evaluation.tokens_per_window,
          .seed = 0,
          .vocabulary = planned.plan.model.vocabulary};
}

absl::StatusOr<Text> CalibrationText(const PlannedQuantization& planned) {
  return OpenText(planned.request.calibration, planned);
}

absl::StatusOr<Text> EvaluationText(const PlannedQuantization& planned) {
  return OpenText(planned.request.evaluation, planned);
}

absl::StatusOr<std::unique_ptr<PlannedQuantization>> MakePlan(const QuantizeRequest& request) {
  QD_ASSIGN_OR_RETURN(auto files, OpenModel(request.model_folder, {.roots = request.model_roots}));
  return MakePlan(request, std::move(files));
}

absl::StatusOr<std::unique_ptr<PlannedQuantization>> MakePlan(
    const QuantizeRequest& request, std::shared_ptr<const ModelFiles> files) {
  QD_RETURN_IF_ERROR(CheckCanBeMeasured(request));
  QD_RETURN_IF_ERROR(FindBackend(request.resources.backend).status());
  auto planned = std::make_unique<PlannedQuantization>();
  planned->request = request;
  QD_ASSIGN_OR_RETURN(planned->files, ShowModel(std::move(files)));
  if (request.recipe.rotate == Rotate::kHadamard) {
    QD_ASSIGN_OR_RETURN(planned->files, ShowRotated(planned->files, HadamardRule(kRotationSeed)));
  }
  QD_ASSIGN_OR_RETURN(planned->checkpoint, Checkpoint::Open(planned->files));
  Plan& plan = planned->plan;
  WarnOfQuantizedSource(planned->checkpoint, plan.warnings);
  for (const std::string& warning : planned->checkpoint.warnings())
    plan.warnings.push_back(warning);
  QD_ASSIGN_OR_RETURN(plan.model, ReadModelSpec(*planned->files, planned->checkpoint));
  QD_ASSIGN_OR_RETURN(plan.linears, ResolveRecipe(request.recipe, plan.model));
  QD_ASSIGN_OR_RETURN(PickedFormat picked, PickFormat(request.output, plan.model, plan.linears));
  plan.format = picked.format;
  planned->request.output.format = plan.format->name;
  std::move(picked.warnings.begin(), picked.warnings.end(), std::back_inserter(plan.warnings));
  QD_RETURN_IF_ERROR(PlanEmbedding(request.recipe, plan));
  for (const ResolvedLinear& entry : plan.linears) {
    if (entry.scheme.has_value())
      plan.statistics = plan.statistics | FindMethod(entry.scheme->method)->needs(*entry.scheme);
  }
  QD_RETURN_IF_ERROR(CheckSavedStatistics(request, plan));
  QD_RETURN_IF_ERROR(PlanCache(request.recipe, plan));
  CalibrationRequest& calibration = planned->request.calibration;
  if (calibration.samples == 0) {
    calibration.samples =
        NeededWindows(plan, request.recipe.kv_cache, calibration.tokens_per_sample);
  }
  if (plan.calibrates) plan.calibration_windows = calibration.samples;
  plan.needs_forward = plan.calibrates || request.evaluation.enabled;
  // A container tells its readers how to run the model.
  const bool described = plan.format->container != nullptr;
  if (plan.needs_forward || described) QD_RETURN_IF_ERROR(CheckRunnable(plan.model));
  if (plan.model.untied_by_content) {
    plan.warnings.push_back(plan.model.head_tensor +
                            " is not the embedding, though config.json ties them: it is kept, and "
                            "the result's config.json says so");
  }
  QD_RETURN_IF_ERROR(PlanFiles(*planned, plan));
  QD_RETURN_IF_ERROR(WarnOfFilesLeft(*planned->files, plan));
  CountSizes(planned->checkpoint, plan);
  if (plan.needs_forward) {
    QD_ASSIGN_OR_RETURN(plan.text_memory_bytes, TextMemory(*planned->files));
  }
  QD_RETURN_IF_ERROR(EstimateCost(planned->request, plan));
  QD_RETURN_IF_ERROR(CheckTexts(*planned));
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
          {"calibration_windows", plan.calibration_windows},
          {"peak_memory_bytes", plan.peak_memory_bytes},
          {"scratch_bytes", plan.scratch_bytes},
          {"journal_bytes", plan.journal_bytes},
          {"estimated_seconds", plan.estimated_seconds},
          {"shards", std::move(shards)},
          {"linears", std::move(linears)},
          {"warnings", plan.warnings}};
}

}  // namespace quantd
