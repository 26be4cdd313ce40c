// What compressed-tensors can hold, and the shape rules of those who load it. Every module that
// does not fit is named.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/serving_rules.h"

namespace quantd {
namespace {

void CheckWidth(const LinearSpec& linear, const Scheme& scheme,
                std::vector<Violation>* violations) {
  if (scheme.floating()) return;  // a method resolves none that has no layout
  if (scheme.bits < 2 || scheme.bits > 8) {
    violations->push_back({linear.name, absl::StrCat("bits ", scheme.bits), "bits 2 to 8"});
  }
  if (scheme.real_zero) {
    violations->push_back(
        {linear.name, "real zero points", "integer zero points, or symmetric true"});
  }
  CheckNeighbouringGroups(linear, scheme, violations);
  if (!scheme.symmetric && scheme.granularity == Granularity::kTensor) {
    violations->push_back({linear.name, "symmetric false with granularity tensor",
                           "granularity channel or group, or symmetric true"});
  }
  if (scheme.activations != ActivationScheme::kNone &&
      (scheme.bits != 8 || !scheme.symmetric || scheme.granularity == Granularity::kGroup)) {
    violations->push_back({linear.name, SchemeText(scheme),
                           "with int8 activations: int8 symmetric per channel or tensor"});
  }
}

// Zero points are packed along the outputs.
void CheckWords(const ServedLinear& served, std::vector<Violation>* violations) {
  const LinearCut cut = CutOf(served);
  if (served.tensor_parallel > 1) CheckWholeWords(served, cut.inputs, "inputs", violations);
  if (!served.resolved.scheme->symmetric) {
    CheckWholeWords(served, cut.outputs, "outputs with zero points", violations);
  }
}

// Scales of blocks are cut between blocks where linears are fused (their last may end in part of
// one) or spread over devices.
void CheckWholeBlocks(const ServedLinear& served, std::vector<Violation>* violations) {
  const LinearSpec& linear = *served.resolved.linear;
  const int64_t height = served.resolved.scheme->RowsPerScale();
  const int64_t outputs = CutOf(served).outputs;
  const bool last = linear.role == LinearRole::kV || linear.role == LinearRole::kUp;
  const bool cut = served.tensor_parallel > 1 || (IsFused(linear) && !last) || linear.expert >= 0;
  if (height == 1 || !cut || outputs % height == 0) return;
  violations->push_back({linear.name, absl::StrCat(outputs, " outputs on a device"),
                         absl::StrCat("a multiple of ", height,
                                      ": number_format fp8-e4m3, skip, or "
                                      "loader transformers")});
}

// Marlin kernels run packed weights of 4 bits, and of 8 without zero points; vLLM has others for
// all widths, which take any shape.
void CheckPackedKernels(const ServedLinear& served, const LoaderTarget& target,
                        std::vector<Violation>* violations) {
  const Scheme& scheme = *served.resolved.scheme;
  const bool marlin = scheme.bits == 4 || (scheme.bits == 8 && scheme.symmetric);
  const bool sglang = target.name == "sglang";
  if (marlin || sglang) {
    CheckKernelShapes(served, MarlinShapes(target, *served.resolved.linear), violations);
  }
  if (sglang && !marlin) {
    violations->push_back({served.resolved.linear->name, SchemeText(scheme),
                           "4 bits, or 8 bits with symmetric true"});
  }
  if (!sglang) CheckWords(served, violations);
}

void CheckHead(const LinearSpec& linear, const Scheme& scheme, std::string_view loader,
               std::vector<Violation>* violations) {
  if (linear.role != LinearRole::kHead) return;
  if (loader == "sglang") {
    violations->push_back({linear.name, "a scheme for the output head", "skip"});
  } else if (!scheme.symmetric) {
    violations->push_back({linear.name, "symmetric false for the output head", "symmetric true"});
  }
}

void CheckServing(const ServedLinear& served, const LoaderTarget& target,
                  std::vector<Violation>* violations) {
  CheckFusion(served, violations);
  if (!served.resolved.scheme.has_value()) return;
  CheckHead(*served.resolved.linear, *served.resolved.scheme, target.name, violations);
  CheckParts(served, violations);
  CheckWholeBlocks(served, violations);
  if (served.resolved.scheme->activations == ActivationScheme::kNone &&
      !served.resolved.scheme->floating()) {
    CheckPackedKernels(served, target, violations);
  }
}

// transformers 5 keeps the experts of a block in one tensor, which it fills by the scheme of the
// first group whatever theirs is, and without zero points; int8 ones are not converted. Its Falcon
// has linears of its own, which the library does not decompress at the first forward pass.
void CheckTransformers(const ServedLinear& served, std::vector<Violation>* violations) {
  const ResolvedLinear& resolved = served.resolved;
  const LinearSpec& linear = *resolved.linear;
  if (served.model.family == "falcon" && resolved.scheme.has_value()) {
    violations->push_back({linear.name, "a linear of transformers' Falcon",
                           "format dequantized or gptq; or no loader, and load it with "
                           "CompressedTensorsConfig(dequantize=True)"});
  }
  if (linear.expert < 0) return;
  const auto first = std::ranges::find_if(
      served.linears, [](const ResolvedLinear& other) { return other.scheme.has_value(); });
  if (first == served.linears.end()) return;
  if (!resolved.scheme.has_value() || !StoredAlike(*first->scheme, *resolved.scheme)) {
    violations->push_back(
        {linear.name,
         resolved.scheme.has_value() ? SchemeText(*resolved.scheme) : "an expert in 16 bit",
         absl::StrCat(SchemeText(*first->scheme), ", as ", first->linear->name, " has")});
  } else if (!resolved.scheme->symmetric) {
    violations->push_back({linear.name, "symmetric false for an expert", "symmetric true"});
  } else if (resolved.scheme->activations != ActivationScheme::kNone &&
             !resolved.scheme->floating()) {
    violations->push_back({linear.name, SchemeText(*resolved.scheme), "activations none"});
  }
}

}  // namespace

absl::Status CompressedTensorsAccepts(std::span<const ResolvedLinear> linears,
                                      const ModelSpec& model, const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckTarget(kCompressedTensors, target));
  std::vector<Violation> holds, loads;
  for (const ResolvedLinear& resolved : linears) {
    const ServedLinear served = {linears, model, resolved, target.tensor_parallel};
    if (resolved.scheme.has_value()) CheckWidth(*resolved.linear, *resolved.scheme, &holds);
    CheckTiedHead(served, &holds);
    CheckStoredOrder(served, &holds);
    if (IsServingEngine(target)) CheckServing(served, target, &loads);
    if (target.name == "transformers") CheckTransformers(served, &loads);
  }
  QD_RETURN_IF_ERROR(Verdict(Reason::kFormatCannotHold, "compressed-tensors cannot hold the recipe",
                             std::move(holds)));
  return LoaderVerdict(kCompressedTensors, target, std::move(loads));
}

// compressed-tensors 0.18 to 0.20 make packed zero points of the unpacked shape on the meta device,
// so that transformers stops at checkpoints of their own too (tests/interop/README.md).
std::vector<std::string> CompressedTensorsCaveats(std::span<const ResolvedLinear> linears,
                                                  const LoaderTarget& target) {
  if (target.name != "transformers") return {};
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value() || resolved.scheme->symmetric) continue;
    return {
        "compressed-tensors 0.18 to 0.20 cannot load asymmetric weights by default, whoever wrote "
        "them: pass quantization_config=CompressedTensorsConfig(dequantize=True), which rounds "
        "each "
        "weight to bfloat16, or use compressed-tensors 0.17.1, symmetric true, or format gptq"};
  }
  return {};
}

}  // namespace quantd
