// What a GPTQ checkpoint can hold, what its loaders take, and what its configuration says.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "engine/format/gptq.h"
#include "engine/format/serving_rules.h"

namespace quantd {
namespace {

// Codes of 32 inputs, and zero points of 32 outputs, are whole words in every width.
constexpr int64_t kWholeWords = 32;

void CheckFormat(const LinearSpec& linear, const Scheme& scheme,
                 std::vector<Violation>* violations) {
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  if (scheme.bits != 2 && scheme.bits != 3 && scheme.bits != 4 && scheme.bits != 8) {
    wrong(absl::StrCat("bits ", scheme.bits), "bits 2, 3, 4 or 8");
  }
  CheckIntegerZeros(linear, scheme, violations);
  CheckWeightsAlone(linear, scheme, violations);
  if (linear.in_features % kWholeWords != 0 || linear.out_features % kWholeWords != 0) {
    wrong(absl::StrCat("[", linear.out_features, ", ", linear.in_features, "]"),
          "multiples of 32; skip the module, or choose format dequantized");
  }
}

// transformers converts every module of the blocks with one configuration; GPTQModel alone reads
// "dynamic".
void CheckTransformers(const ServedLinear& served, std::vector<Violation>* violations) {
  const ResolvedLinear& resolved = served.resolved;
  if (!resolved.scheme.has_value()) return;
  if (resolved.linear->role == LinearRole::kHead) {
    violations->push_back({resolved.linear->name, "a scheme for the output head", "skip"});
    return;
  }
  for (const ResolvedLinear& first : served.linears) {
    if (!first.scheme.has_value() || first.linear->role == LinearRole::kHead) continue;
    if (!StoredAlike(*first.scheme, *resolved.scheme)) {
      violations->push_back({resolved.linear->name, SchemeText(*resolved.scheme),
                             absl::StrCat(SchemeText(*first.scheme), ", as ", first.linear->name,
                                          " has; loaders vllm and sglang take mixed recipes")});
    }
    return;
  }
}

void CheckServing(const ServedLinear& served, const LoaderTarget& target,
                  std::vector<Violation>* violations) {
  CheckFusion(served, violations);
  if (!served.resolved.scheme.has_value()) return;
  const LinearSpec& linear = *served.resolved.linear;
  const Scheme& scheme = *served.resolved.scheme;
  CheckParts(served, violations);
  CheckKernelShapes(served, MarlinShapes(target, linear), violations);
  const LinearCut cut = CutOf(served);
  CheckWholeWords(served, cut.outputs, "outputs", violations);
  CheckWholeWords(served, cut.inputs, "inputs", violations);
  if (linear.role == LinearRole::kHead && target.name == "sglang") {
    violations->push_back({linear.name, "a scheme for the output head", "skip"});
  }
  const bool runs_marlin = scheme.symmetric && (scheme.bits == 4 || scheme.bits == 8);
  if (target.name == "vllm" && scheme.ordered_groups) {
    violations->push_back({linear.name, "groups of inputs that are not neighbours (desc_act)",
                           "groups of neighbours (act_order group-aware or static), or loader "
                           "transformers or sglang"});
  }
  if (target.name == "vllm" && !runs_marlin) {
    violations->push_back(
        {linear.name, SchemeText(scheme),
         "4 or 8 bits, symmetric true (or format awq or compressed-tensors for 4 bits with zero "
         "points)"});
  }
}

int64_t GroupSizeOf(const Scheme& scheme) {
  return scheme.granularity == Granularity::kGroup ? scheme.group_size : -1;
}

// A regular expression for exactly that module, and for the module that engines fuse it into: they
// look the fused name up.
std::string PatternOf(const LinearSpec& linear) {
  const std::string name = absl::StrReplaceAll(linear.name, {{".", "\\."}});
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return "^" + name + "$";
  const std::string parent = name.substr(0, dot + 1), last = name.substr(dot + 1);
  // All experts are looked up by the name of their list.
  const size_t number = linear.expert == 0 && linear.role == LinearRole::kGate
                            ? name.rfind("\\.0\\.")
                            : std::string::npos;
  if (number != std::string::npos) {
    return "^" + name.substr(0, number) + "(" + name.substr(number) + ")?$";
  }
  if (linear.role == LinearRole::kQ) return "^" + parent + "(" + last + "|qkv_proj)$";
  if (linear.role == LinearRole::kGate) return "^" + parent + "(" + last + "|gate_up_proj)$";
  return "^" + name + "$";
}

// The scheme that most weights have: the configuration is its; others are exceptions.
const Scheme* MostCommon(std::span<const ResolvedLinear> linears) {
  const Scheme* most = nullptr;
  int64_t most_weights = 0;
  for (const ResolvedLinear& candidate : linears) {
    if (!candidate.scheme.has_value()) continue;
    int64_t weights = 0;
    for (const ResolvedLinear& other : linears) {
      if (!other.scheme.has_value() || !StoredAlike(*other.scheme, *candidate.scheme)) continue;
      if (&other < &candidate) break;  // counted before
      weights += other.linear->parameters();
    }
    if (weights > most_weights) {
      most = &*candidate.scheme;
      most_weights = weights;
    }
  }
  return most;
}

Json DynamicOf(std::span<const ResolvedLinear> linears, const Scheme& common,
               const ModelSpec& model) {
  Json dynamic = Json::object();
  for (const std::string& module : model.dense_modules) {
    dynamic["-:" + PatternOf({.name = module})] = Json::object();
  }
  for (const ResolvedLinear& resolved : linears) {
    const LinearSpec& linear = *resolved.linear;
    if (!resolved.scheme.has_value()) {
      if (linear.role != LinearRole::kHead) dynamic["-:" + PatternOf(linear)] = Json::object();
    } else if (!StoredAlike(*resolved.scheme, common)) {
      Json& exception = dynamic["+:" + PatternOf(linear)];
      exception = {{"bits", resolved.scheme->bits},
                   {"group_size", GroupSizeOf(*resolved.scheme)},
                   {"sym", resolved.scheme->symmetric}};
      if (resolved.scheme->ordered_groups != common.ordered_groups) {
        exception["desc_act"] = resolved.scheme->ordered_groups;
      }
    }
  }
  return dynamic;
}

}  // namespace

absl::Status GptqAccepts(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                         const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckTarget(kGptqFormat, target));
  std::vector<Violation> holds, loads;
  for (const ResolvedLinear& resolved : linears) {
    const ServedLinear served = {linears, model, resolved, target.tensor_parallel};
    if (resolved.scheme.has_value()) CheckFormat(*resolved.linear, *resolved.scheme, &holds);
    CheckTiedHead(served, &holds);
    if (target.name == "transformers") CheckTransformers(served, &loads);
    if (IsServingEngine(target)) CheckServing(served, target, &loads);
  }
  QD_RETURN_IF_ERROR(
      Verdict(Reason::kFormatCannotHold, "gptq cannot hold the recipe", std::move(holds)));
  return LoaderVerdict(kGptqFormat, target, std::move(loads));
}

Json GptqConfig(std::span<const ResolvedLinear> linears, const ModelSpec& model) {
  const Scheme* common = MostCommon(linears);
  if (common == nullptr) return nullptr;
  bool head = false, some_skipped = !model.dense_modules.empty();
  Json quantized = Json::array();
  for (const ResolvedLinear& resolved : linears) {
    const bool is_head = resolved.linear->role == LinearRole::kHead;
    if (resolved.scheme.has_value()) {
      head = head || is_head;
      if (!is_head) quantized.push_back(resolved.linear->name);
    } else {
      some_skipped = some_skipped || !is_head;
    }
  }
  const std::string layout = common->layout == kGptqV2 ? "gptq_v2" : "gptq";
  Json config = {{"quant_method", "gptq"},
                 {"bits", common->bits},
                 {"group_size", GroupSizeOf(*common)},
                 {"desc_act", common->ordered_groups},
                 {"sym", common->symmetric},
                 {"lm_head", head},
                 {"checkpoint_format", layout},
                 {"format", layout},
                 {"pack_dtype", "int32"},
                 {"meta", {{"quantizer", Json::array({"quantd"})}}}};
  Json dynamic = DynamicOf(linears, *common, model);
  if (!dynamic.empty()) config["dynamic"] = std::move(dynamic);
  // transformers knows skipped modules by those that are not.
  if (some_skipped) config["modules_in_block_to_quantize"] = Json::array({std::move(quantized)});
  return config;
}

}  // namespace quantd
