// What engines ask of a checkpoint whatever its format: the shapes their kernels take, linears that
// they fuse on loading, parts of a linear per device. Every module that does not fit is named, with
// what would.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/error.h"
#include "engine/format/registry.h"

namespace quantd {

// "int4 asymmetric per group of 128, activations none".
std::string SchemeText(const Scheme& scheme);

// Static inputs have a zero point when the method was asked for one.
bool HasStaticInput(const Scheme& scheme);
bool HasInputZero(const Scheme& scheme);

// Whether two schemes are stored alike: everything but how codes and scales were found.
bool StoredAlike(const Scheme& a, const Scheme& b);

// Releases of engines that the rows of formats speak of.
inline constexpr std::string_view kTransformersVersions = "4.57 to 5.24";
inline constexpr std::string_view kVllmVersions = "0.32 to 0.33";
inline constexpr std::string_view kSglangVersions = "sources of early 2026, not run";

// LOADER_REFUSES for a loader that is not among the format's, and for tensor parallelism with one
// that does not split linears.
absl::Status CheckTarget(const Format& format, const LoaderTarget& target);
// Whether the target has the rules below.
bool IsServingEngine(const LoaderTarget& target);  // vllm, sglang

// One linear of a recipe on its way into an engine.
struct ServedLinear {
  std::span<const ResolvedLinear> linears;  // all of the model
  const ModelSpec& model;
  const ResolvedLinear& resolved;
  int64_t tensor_parallel = 1;
};

// What layouts of 2 to 8 bits cannot hold: real zero points; int8 inputs, one scale for a whole
// tensor.
void CheckIntegerZeros(const LinearSpec& linear, const Scheme& scheme,
                       std::vector<Violation>* violations);
void CheckWeightsAlone(const LinearSpec& linear, const Scheme& scheme,
                       std::vector<Violation>* violations);
// Groups that are not of neighbours, which format gptq alone has a place for.
void CheckNeighbouringGroups(const LinearSpec& linear, const Scheme& scheme,
                             std::vector<Violation>* violations);
// A head that is tied to the embedding cannot be quantized, by anybody.
void CheckTiedHead(const ServedLinear& served, std::vector<Violation>* violations);
// Conv1D of transformers, which keeps weights as [inputs, outputs] (GPT-2), is no module that the
// libraries of most formats look for.
void CheckStoredOrder(const ServedLinear& served, std::vector<Violation>* violations);
// q, k, v of a block and gate, up become one matrix each, all experts of a block one operator:
// stored alike, or all skipped.
void CheckFusion(const ServedLinear& served, std::vector<Violation>* violations);
// Whether it is one of those that become one matrix.
bool IsFused(const LinearSpec& linear);
// The parts of a linear per device: heads, outputs and groups are split evenly.
void CheckParts(const ServedLinear& served, std::vector<Violation>* violations);

// What one device has of a linear: of its own outputs, not of the operator that it is fused into.
struct LinearCut {
  int64_t outputs = 0, inputs = 0;
};
LinearCut CutOf(const ServedLinear& served);
// Packed tensors are cut between words of 32 bits: along the outputs where linears are fused or
// spread over devices, along the inputs where those are spread.
void CheckWholeWords(const ServedLinear& served, int64_t cut, std::string_view of,
                     std::vector<Violation>* violations);

// What a kernel takes, per device.
struct KernelShapes {
  int64_t outputs = 64, inputs = 128;  // multiples of these
  std::span<const int64_t> group_sizes;
};
// The Marlin kernels of SGLang, and those of vLLM, which fills up what is no whole tile, but not
// the hidden size of a mixture of experts.
KernelShapes MarlinShapes(const LoaderTarget& target, const LinearSpec& linear);
void CheckKernelShapes(const ServedLinear& served, const KernelShapes& shapes,
                       std::vector<Violation>* violations);

// OK, or `reason` with the violations.
absl::Status Verdict(Reason reason, std::string_view what, std::vector<Violation> violations);
// The same for the rules of a loader of the format: the message has its releases.
absl::Status LoaderVerdict(const Format& format, const LoaderTarget& target,
                           std::vector<Violation> violations);

}  // namespace quantd
