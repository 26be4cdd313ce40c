#include "engine/format/serving_rules.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace quantd {
namespace {

// A fused operator of the serving engines: these roles of one module become one matrix.
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

std::string_view ParentOf(std::string_view module) {
  const size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot);
}

bool Fused(const LinearSpec& a, const LinearSpec& b) {
  const Fusion* fusion = FusionOf(a.role);
  return fusion != nullptr && a.block == b.block && fusion == FusionOf(b.role) &&
         ParentOf(a.name) == ParentOf(b.name);
}

// What an engine loads as one operator: stored alike, or all skipped.
struct Operator {
  std::string_view name;  // empty: the linear is one by itself
  bool (*has)(const LinearSpec& a, const LinearSpec& b) = nullptr;
};

bool ExpertsOfOneBlock(const LinearSpec& a, const LinearSpec& b) {
  return a.expert >= 0 && b.expert >= 0 && a.block == b.block;
}

// All linears of all experts of a block run in one kernel.
Operator OperatorOf(const LinearSpec& linear) {
  if (linear.expert >= 0) return {"the experts of a block", ExpertsOfOneBlock};
  const Fusion* fusion = FusionOf(linear.role);
  return fusion == nullptr ? Operator{} : Operator{fusion->name, Fused};
}

bool IsSplitByInputs(LinearRole role) {
  return role == LinearRole::kO || role == LinearRole::kDown;
}

// Devices that share the outputs of a linear: k and v heads are repeated when there are fewer of
// them than devices.
int64_t OutputDevices(const ServedLinear& served, const LinearSpec& linear) {
  if (IsSplitByInputs(linear.role) || linear.role == LinearRole::kOther) return 1;
  const bool per_kv_head = linear.role == LinearRole::kK || linear.role == LinearRole::kV;
  if (!per_kv_head || served.model.kv_heads <= 0) return served.tensor_parallel;
  return std::min(served.tensor_parallel, served.model.kv_heads);
}

// Outputs, on one device, of the operator that the linear ends up in.
int64_t OutputsPerDevice(const ServedLinear& served) {
  const LinearSpec& linear = *served.resolved.linear;
  if (FusionOf(linear.role) == nullptr) {
    return linear.out_features / OutputDevices(served, linear);
  }
  int64_t outputs = 0;
  for (const ResolvedLinear& other : served.linears) {
    if (!Fused(*other.linear, linear)) continue;
    outputs += other.linear->out_features / OutputDevices(served, *other.linear);
  }
  return outputs;
}

int64_t InputsPerDevice(const ServedLinear& served) {
  const LinearSpec& linear = *served.resolved.linear;
  return IsSplitByInputs(linear.role) ? linear.in_features / served.tensor_parallel
                                      : linear.in_features;
}

std::string PerDevice(const ServedLinear& served, bool split) {
  if (served.tensor_parallel == 1 || !split) return "";
  return absl::StrCat(" on each of ", served.tensor_parallel, " devices");
}

}  // namespace

std::string SchemeText(const Scheme& scheme) {
  std::string text = absl::StrCat(
      scheme.floating() ? std::string(scheme.number->name) : absl::StrCat("int", scheme.bits),
      scheme.symmetric ? " symmetric" : " asymmetric", " per ", ToAbsl(NameOf(scheme.granularity)));
  if (scheme.granularity == Granularity::kGroup) absl::StrAppend(&text, " of ", scheme.group_size);
  if (scheme.ordered_groups) absl::StrAppend(&text, " in the order of importance");
  absl::StrAppend(&text, ", activations ", ToAbsl(NameOf(scheme.activations)));
  return text;
}

bool HasStaticInput(const Scheme& scheme) {
  return scheme.activations == ActivationScheme::kStatic;
}

bool HasInputZero(const Scheme& scheme) {
  const Options::Map& options = scheme.options.values();
  return HasStaticInput(scheme) && options.contains("activation_symmetric") &&
         !scheme.options.Flag("activation_symmetric");
}

bool StoredAlike(const Scheme& a, const Scheme& b) {
  return a.bits == b.bits && a.number == b.number && a.granularity == b.granularity &&
         a.group_size == b.group_size && a.ordered_groups == b.ordered_groups &&
         a.symmetric == b.symmetric && a.activations == b.activations &&
         HasInputZero(a) == HasInputZero(b) && a.scale_dtype == b.scale_dtype;
}

bool IsServingEngine(const LoaderTarget& target) {
  return target.name == "vllm" || target.name == "sglang";
}

absl::Status CheckTarget(const Format& format, const LoaderTarget& target) {
  bool known = target.name.empty();
  std::string names;
  for (const LoaderRow& row : format.loaders) {
    known = known || row.name == target.name;
    absl::StrAppend(&names, ToAbsl(row.name), ", ");
  }
  if (!known) {
    return MakeError(
        Reason::kLoaderRefuses, absl::StrCat("nobody of that name loads ", ToAbsl(format.name)),
        {.where = "output.loader", .got = std::string(target.name), .wanted = names + "or none"});
  }
  if (target.tensor_parallel > 1 && !IsServingEngine(target)) {
    return MakeError(Reason::kLoaderRefuses, "only serving engines split linears over devices",
                     {.where = "output.tensor_parallel",
                      .got = absl::StrCat(target.tensor_parallel, " with loader ",
                                          target.name.empty() ? "none" : ToAbsl(target.name)),
                      .wanted = "1, or loader vllm or sglang"});
  }
  return absl::OkStatus();
}

void CheckIntegerZeros(const LinearSpec& linear, const Scheme& scheme,
                       std::vector<Violation>* violations) {
  if (!scheme.real_zero) return;
  violations->push_back(
      {linear.name, "real zero points", "integer zero points, symmetric true, or format hqq"});
}

void CheckWeightsAlone(const LinearSpec& linear, const Scheme& scheme,
                       std::vector<Violation>* violations) {
  if (scheme.activations != ActivationScheme::kNone) {
    violations->push_back({linear.name,
                           absl::StrCat("activations ", ToAbsl(NameOf(scheme.activations))),
                           "activations none, or format compressed-tensors"});
  }
  if (scheme.granularity == Granularity::kTensor) {
    violations->push_back({linear.name, "granularity tensor", "granularity group or channel"});
  }
}

void CheckNeighbouringGroups(const LinearSpec& linear, const Scheme& scheme,
                             std::vector<Violation>* violations) {
  if (!scheme.ordered_groups) return;
  violations->push_back({linear.name, "groups of inputs that are not neighbours (desc_act)",
                         "groups of neighbours (act_order group-aware), or format gptq"});
}

void CheckTiedHead(const ServedLinear& served, std::vector<Violation>* violations) {
  if (served.resolved.linear->role != LinearRole::kHead || !served.resolved.scheme.has_value() ||
      !served.model.tied_embeddings) {
    return;
  }
  violations->push_back({served.resolved.linear->name, "a scheme for the output head",
                         "skip: the head shares its tensor with the embedding"});
}

void CheckStoredOrder(const ServedLinear& served, std::vector<Violation>* violations) {
  if (!served.resolved.linear->transposed || !served.resolved.scheme.has_value()) return;
  violations->push_back({served.resolved.linear->name, "a weight stored as [inputs, outputs]",
                         "format gptq or dequantized: loaders of this one read no such modules"});
}

// Every member of a fused operator is compared with the first.
void CheckFusion(const ServedLinear& served, std::vector<Violation>* violations) {
  const ResolvedLinear& resolved = served.resolved;
  const Operator whole = OperatorOf(*resolved.linear);
  if (whole.has == nullptr) return;
  for (const ResolvedLinear& first : served.linears) {
    if (!whole.has(*first.linear, *resolved.linear)) continue;
    if (first.linear == resolved.linear) return;
    const bool alike = first.scheme.has_value() == resolved.scheme.has_value() &&
                       (!first.scheme.has_value() || StoredAlike(*first.scheme, *resolved.scheme));
    if (!alike) {
      const auto text = [](const ResolvedLinear& one) {
        return one.scheme.has_value() ? SchemeText(*one.scheme) : std::string("skipped");
      };
      violations->push_back(
          {resolved.linear->name, text(resolved),
           absl::StrCat(text(first), ", as ", first.linear->name, " has: ", ToAbsl(whole.name),
                        " are fused on loading and must be stored alike, or all skipped")});
    }
    return;
  }
}

bool IsFused(const LinearSpec& linear) { return FusionOf(linear.role) != nullptr; }

void CheckParts(const ServedLinear& served, std::vector<Violation>* violations) {
  const int64_t devices = served.tensor_parallel;
  if (devices == 1 || !served.resolved.scheme.has_value()) return;
  const LinearSpec& linear = *served.resolved.linear;
  const Scheme& scheme = *served.resolved.scheme;
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  const std::string over = absl::StrCat(" over ", devices, " devices");
  const bool is_attention = linear.role == LinearRole::kQ || linear.role == LinearRole::kK ||
                            linear.role == LinearRole::kV || linear.role == LinearRole::kO;
  if (is_attention && served.model.heads > 0 && served.model.heads % devices != 0) {
    wrong(absl::StrCat(served.model.heads, " heads", over),
          "a tensor_parallel that divides the heads");
    return;
  }
  const int64_t kv = served.model.kv_heads;
  const bool per_kv_head = linear.role == LinearRole::kK || linear.role == LinearRole::kV;
  if (per_kv_head && kv > 0 && kv % devices != 0 && devices % kv != 0) {
    wrong(absl::StrCat(kv, " key and value heads", over),
          "a tensor_parallel that divides them or is a multiple of them");
    return;
  }
  if (IsSplitByInputs(linear.role)) {
    const int64_t unit = scheme.granularity == Granularity::kGroup ? scheme.group_size : 1;
    if (linear.in_features % devices != 0 || linear.in_features / devices % unit != 0) {
      wrong(absl::StrCat(linear.in_features, " inputs", over),
            unit == 1 ? "inputs that the devices divide"
                      : absl::StrCat("whole groups of ", unit, " on each: a smaller group_size, ",
                                     "granularity channel, or skip"));
    }
  } else if (linear.out_features % OutputDevices(served, linear) != 0) {
    wrong(absl::StrCat(linear.out_features, " outputs", over), "outputs that the devices divide");
  }
}

LinearCut CutOf(const ServedLinear& served) {
  const LinearSpec& linear = *served.resolved.linear;
  return {linear.out_features / OutputDevices(served, linear), InputsPerDevice(served)};
}

void CheckWholeWords(const ServedLinear& served, int64_t cut, std::string_view of,
                     std::vector<Violation>* violations) {
  const int bits = served.resolved.scheme->bits;
  if (cut * bits % 32 == 0) return;
  violations->push_back({served.resolved.linear->name,
                         absl::StrCat(cut, " ", ToAbsl(of), " of ", bits, " bits on a device"),
                         "whole words of 32 bits: 4 or 8 bits, skip, or loader transformers"});
}

// vLLM: marlin_padded_nk and check_moe_marlin_supports_config of marlin_utils.py (0.32).
KernelShapes MarlinShapes(const LoaderTarget& target, const LinearSpec& linear) {
  static constexpr int64_t kGroups[] = {32, 64, 128};
  if (target.name != "vllm") return {.outputs = 64, .inputs = 128, .group_sizes = kGroups};
  const bool expert = linear.expert >= 0;
  const bool makes_hidden = linear.role == LinearRole::kDown;
  return {.outputs = expert && makes_hidden ? 128 : 1,
          .inputs = expert && !makes_hidden ? 128 : 1,
          .group_sizes = kGroups};
}

void CheckKernelShapes(const ServedLinear& served, const KernelShapes& shapes,
                       std::vector<Violation>* violations) {
  const LinearSpec& linear = *served.resolved.linear;
  const Scheme& scheme = *served.resolved.scheme;
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  const int64_t outputs = OutputsPerDevice(served), inputs = InputsPerDevice(served);
  const std::string instead = "; skip the module, or choose loader transformers";
  if (outputs % shapes.outputs != 0) {
    wrong(absl::StrCat(outputs, " outputs",
                       FusionOf(linear.role) == nullptr ? "" : " of the fused operator",
                       PerDevice(served, OutputDevices(served, linear) > 1)),
          absl::StrCat("a multiple of ", shapes.outputs, instead));
  }
  if (inputs % shapes.inputs != 0) {
    wrong(absl::StrCat(inputs, " inputs", PerDevice(served, IsSplitByInputs(linear.role))),
          absl::StrCat("a multiple of ", shapes.inputs, instead));
  }
  if (scheme.granularity == Granularity::kTensor) {
    wrong("granularity tensor", "granularity group or channel");
  }
  const bool known = std::find(shapes.group_sizes.begin(), shapes.group_sizes.end(),
                               scheme.group_size) != shapes.group_sizes.end();
  if (scheme.granularity == Granularity::kGroup && !known) {
    wrong(absl::StrCat("group_size ", scheme.group_size),
          absl::StrCat(absl::StrJoin(shapes.group_sizes, ", "), ", or granularity channel"));
  }
}

absl::Status Verdict(Reason reason, std::string_view what, std::vector<Violation> violations) {
  if (violations.empty()) return absl::OkStatus();
  return MakeError(reason, what, std::move(violations));
}

absl::Status LoaderVerdict(const Format& format, const LoaderTarget& target,
                           std::vector<Violation> violations) {
  std::string name(target.name);
  for (const LoaderRow& row : format.loaders) {
    if (row.name == target.name) absl::StrAppend(&name, " (", ToAbsl(row.versions), ")");
  }
  return Verdict(Reason::kLoaderRefuses, name + " cannot load the result", std::move(violations));
}

}  // namespace quantd
