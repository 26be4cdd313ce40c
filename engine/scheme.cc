#include "engine/scheme.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {

std::string_view NameOf(Granularity granularity) {
  switch (granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kChannel:
      return "channel";
    case Granularity::kGroup:
      return "group";
  }
  return "";
}

std::string_view NameOf(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::kAbsmax:
      return "absmax";
    case ScaleRule::kMse:
      return "mse";
    case ScaleRule::kWeightedMse:
      return "weighted-mse";
  }
  return "";
}

std::string_view NameOf(ActivationScheme activations) {
  switch (activations) {
    case ActivationScheme::kNone:
      return "none";
    case ActivationScheme::kDynamicToken:
      return "dynamic";
  }
  return "";
}

std::string Describe(const Scheme& scheme) {
  std::string text = absl::StrCat(scheme.method, " ");
  absl::StrAppend(&text, scheme.activations == ActivationScheme::kDynamicToken ? "w" : "int",
                  scheme.bits);
  if (scheme.activations == ActivationScheme::kDynamicToken) absl::StrAppend(&text, "a8");
  if (scheme.granularity == Granularity::kGroup) {
    absl::StrAppend(&text, " g", scheme.group_size);
  } else {
    absl::StrAppend(&text, " ", ToAbsl(NameOf(scheme.granularity)));
  }
  absl::StrAppend(&text, scheme.symmetric ? " sym " : " asym ", ToAbsl(NameOf(scheme.scale_rule)));
  return text;
}

}  // namespace quantd
