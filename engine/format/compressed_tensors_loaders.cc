// What compressed-tensors can hold, and the shape rules of those who load it. Every module that
// does not fit is named.

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/format/compressed_tensors.h"

namespace quantd {
namespace {

std::string Text(const Scheme& scheme) {
  std::string text =
      absl::StrCat("int", scheme.bits, scheme.symmetric ? " symmetric" : " asymmetric", " per ",
                   ToAbsl(NameOf(scheme.granularity)));
  if (scheme.granularity == Granularity::kGroup) absl::StrAppend(&text, " of ", scheme.group_size);
  absl::StrAppend(&text, ", activations ", ToAbsl(NameOf(scheme.activations)));
  return text;
}

void CheckWidth(const LinearSpec& linear, const Scheme& scheme,
                std::vector<Violation>* violations) {
  if (scheme.bits != 4 && scheme.bits != 8) {
    violations->push_back(
        {linear.name, absl::StrCat("bits ", scheme.bits),
         "bits 4 or 8: the others were packed differently by loaders of different "
         "age, and wait for formats that define them"});
  }
  if (scheme.real_zero) {
    violations->push_back(
        {linear.name, "real zero points", "integer zero points, or symmetric true"});
  }
  if (!scheme.symmetric && scheme.granularity == Granularity::kTensor) {
    violations->push_back({linear.name, "symmetric false with granularity tensor",
                           "granularity channel or group, or symmetric true"});
  }
  if (scheme.activations != ActivationScheme::kNone &&
      (scheme.bits != 8 || !scheme.symmetric || scheme.granularity == Granularity::kGroup)) {
    violations->push_back(
        {linear.name, Text(scheme), "with int8 activations: int8 symmetric per channel or tensor"});
  }
}

// What the format itself can hold, whoever loads it.
std::vector<Violation> CheckFormat(std::span<const ResolvedLinear> linears,
                                   const ModelSpec& model) {
  std::vector<Violation> violations;
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) continue;
    CheckWidth(*resolved.linear, *resolved.scheme, &violations);
    if (resolved.linear->role == LinearRole::kHead && model.tied_embeddings) {
      violations.push_back({resolved.linear->name, "a scheme for the output head",
                            "skip: the head shares its tensor with the embedding"});
    }
  }
  return violations;
}

// A fused operator of the serving engines: these roles of one block become one matrix.
struct Fusion {
  std::string_view name;
  std::array<LinearRole, 3> roles;
};
constexpr Fusion kFusions[] = {
    {"q, k and v", {LinearRole::kQ, LinearRole::kK, LinearRole::kV}},
    {"gate and up", {LinearRole::kGate, LinearRole::kUp, LinearRole::kUp}},
};

const Fusion* FusionOf(LinearRole role) {
  for (const Fusion& fusion : kFusions) {
    for (const LinearRole member : fusion.roles) {
      if (member == role) return &fusion;
    }
  }
  return nullptr;
}

bool Fused(const LinearSpec& a, const LinearSpec& b) {
  const Fusion* fusion = FusionOf(a.role);
  return fusion != nullptr && a.block == b.block && fusion == FusionOf(b.role);
}

// Every member of a fused operator is compared with the first.
void CheckFusion(std::span<const ResolvedLinear> linears, const ResolvedLinear& resolved,
                 std::vector<Violation>* violations) {
  const Fusion* fusion = FusionOf(resolved.linear->role);
  if (fusion == nullptr) return;
  for (const ResolvedLinear& first : linears) {
    if (!Fused(*first.linear, *resolved.linear)) continue;
    if (first.linear == resolved.linear) return;
    const bool alike = first.scheme.has_value() == resolved.scheme.has_value() &&
                       (!first.scheme.has_value() || StoredAlike(*first.scheme, *resolved.scheme));
    if (!alike) {
      const auto text = [](const ResolvedLinear& one) {
        return one.scheme.has_value() ? Text(*one.scheme) : std::string("skipped");
      };
      violations->push_back(
          {resolved.linear->name, text(resolved),
           absl::StrCat(text(first), ", as ", first.linear->name, " has: ", ToAbsl(fusion->name),
                        " are fused on loading and must be stored alike, or all skipped")});
    }
    return;
  }
}

// Output features of the operator that `linear` ends up in.
int64_t FusedOutputs(std::span<const ResolvedLinear> linears, const LinearSpec& linear) {
  if (FusionOf(linear.role) == nullptr) return linear.out_features;
  int64_t outputs = 0;
  for (const ResolvedLinear& other : linears) {
    if (Fused(*other.linear, linear)) outputs += other.linear->out_features;
  }
  return outputs;
}

// The Marlin kernels of vLLM and SGLang, which run packed weights.
void CheckMarlin(std::span<const ResolvedLinear> linears, const LinearSpec& linear,
                 const Scheme& scheme, std::vector<Violation>* violations) {
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  const int64_t outputs = FusedOutputs(linears, linear);
  if (outputs % 64 != 0) {
    wrong(absl::StrCat(outputs, " outputs",
                       outputs == linear.out_features ? "" : " of the fused operator"),
          "a multiple of 64; skip the module, or choose loader transformers");
  }
  if (linear.in_features % 128 != 0) {
    wrong(absl::StrCat(linear.in_features, " inputs"),
          "a multiple of 128; skip the module, or choose loader transformers");
  }
  if (scheme.granularity == Granularity::kTensor) {
    wrong("granularity tensor", "granularity group or channel");
  }
  if (scheme.granularity == Granularity::kGroup && scheme.group_size != 32 &&
      scheme.group_size != 64 && scheme.group_size != 128) {
    wrong(absl::StrCat("group_size ", scheme.group_size), "32, 64 or 128, or granularity channel");
  }
  if (scheme.bits == 8 && !scheme.symmetric) {
    wrong("8 bits with symmetric false", "symmetric true, or 4 bits");
  }
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

std::vector<Violation> CheckServing(std::span<const ResolvedLinear> linears,
                                    std::string_view loader) {
  std::vector<Violation> violations;
  for (const ResolvedLinear& resolved : linears) {
    CheckFusion(linears, resolved, &violations);
    if (!resolved.scheme.has_value()) continue;
    CheckHead(*resolved.linear, *resolved.scheme, loader, &violations);
    if (resolved.scheme->activations == ActivationScheme::kNone) {
      CheckMarlin(linears, *resolved.linear, *resolved.scheme, &violations);
    }
  }
  return violations;
}

}  // namespace

absl::Status CompressedTensorsAccepts(std::span<const ResolvedLinear> linears,
                                      const ModelSpec& model, std::string_view loader) {
  bool known = loader.empty();
  for (const LoaderRow& row : kCompressedTensors.loaders) known = known || row.name == loader;
  if (!known) {
    return MakeError(Reason::kLoaderRefuses, "nobody of that name loads compressed-tensors",
                     {.where = "output.loader",
                      .got = std::string(loader),
                      .wanted = "transformers, vllm, sglang, or none"});
  }
  std::vector<Violation> violations = CheckFormat(linears, model);
  if (!violations.empty()) {
    return MakeError(Reason::kFormatCannotHold, "compressed-tensors cannot hold the recipe",
                     std::move(violations));
  }
  if (loader == "vllm" || loader == "sglang") violations = CheckServing(linears, loader);
  if (!violations.empty()) {
    return MakeError(Reason::kLoaderRefuses, std::string(loader) + " cannot load the result",
                     std::move(violations));
  }
  return absl::OkStatus();
}

}  // namespace quantd
