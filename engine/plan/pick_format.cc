#include "engine/plan/pick_format.h"

#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/plan/refusals.h"

namespace quantd {
namespace {

// Most widely served first; what keeps no codes comes last.
constexpr std::array<std::string_view, 5> kByPreference = {"compressed-tensors", "gptq", "hqq",
                                                           "gguf", "dequantized"};

// Codes with scales, floating codes and blocks of a file format are different things to a format.
absl::Status CheckKinds(const Format& format, const std::vector<ResolvedLinear>& linears) {
  const auto refuse = [&](const Scheme& scheme, std::string_view what, const char* wanted) {
    return MakeError(
        Reason::kFormatCannotHold, "refused",
        Violation{.where = "output.format",
                  .got = absl::StrCat(ToAbsl(format.name), " for ", ToAbsl(what), Describe(scheme)),
                  .wanted = wanted});
  };
  for (const ResolvedLinear& entry : linears) {
    if (!entry.scheme.has_value()) continue;
    if (entry.scheme->floating() && !format.floating) {
      return refuse(*entry.scheme, "", "compressed-tensors, or dequantized");
    }
    if (entry.scheme->block != nullptr && !format.blocks) {
      return refuse(*entry.scheme, "the blocks of ", "gguf, or dequantized");
    }
  }
  return absl::OkStatus();
}

// Settles `linears` for the format, if it holds them.
absl::StatusOr<PickedFormat> Fit(const Format& format, const OutputRequest& output,
                                 const ModelSpec& model, std::vector<ResolvedLinear>& linears) {
  QD_RETURN_IF_ERROR(CheckKinds(format, linears));
  std::vector<ResolvedLinear> settled = linears;
  if (format.settle != nullptr) format.settle(settled, model);
  const LoaderTarget target = {.name = output.loader, .tensor_parallel = output.tensor_parallel};
  QD_RETURN_IF_ERROR(Together(format.accepts(settled, model, target)));
  linears = std::move(settled);
  PickedFormat picked = {.format = &format};
  if (format.caveats != nullptr) picked.warnings = format.caveats(linears, target);
  return picked;
}

absl::StatusOr<const Format*> Named(const std::string& name) {
  const Format* format = FindFormat(name);
  if (format != nullptr) return format;
  std::string names;
  for (const Format& row : Formats())
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(row.name));
  return MakeError(Reason::kFormatCannotHold, "refused",
                   Violation{.where = "output.format", .got = name, .wanted = "one of " + names});
}

}  // namespace

absl::StatusOr<PickedFormat> PickFormat(const OutputRequest& output, const ModelSpec& model,
                                        std::vector<ResolvedLinear>& linears) {
  if (!output.format.empty()) {
    QD_ASSIGN_OR_RETURN(const Format* format, Named(output.format));
    return Fit(*format, output, model, linears);
  }
  absl::Status refused;  // by the first
  for (const std::string_view name : kByPreference) {
    auto picked = Fit(*FindFormat(name), output, model, linears);
    if (!picked.ok()) {
      refused.Update(picked.status());
      continue;
    }
    if (!refused.ok()) {
      const Violation why = ViolationsOf(refused).front();
      picked->warnings.push_back(absl::StrCat("written as ", ToAbsl(name), ": ",
                                              ToAbsl(kByPreference.front()), " cannot hold it (",
                                              why.where, ": ", why.got, ")"));
    }
    return picked;
  }
  return refused;
}

}  // namespace quantd
