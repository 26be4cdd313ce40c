#include "engine/plan/pick_format.h"

#include <algorithm>
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

template <typename Rows>
std::string NamesOf(const Rows& rows) {
  std::string names;
  for (const auto& row : rows) absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(row.name));
  return names;
}

absl::Status CheckLoader(const Format& format, const std::string& loader) {
  const auto reads = [&](const LoaderRow& row) { return row.name == loader; };
  if (loader.empty() || std::any_of(format.loaders.begin(), format.loaders.end(), reads)) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kLoaderRefuses, "refused",
                   Violation{.where = "output.loader",
                             .got = loader,
                             .wanted = absl::StrCat("an engine that reads ", ToAbsl(format.name),
                                                    ": ", NamesOf(format.loaders))});
}

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
absl::Status Fit(const Format& format, const OutputRequest& output, const ModelSpec& model,
                 std::vector<ResolvedLinear>& linears) {
  QD_RETURN_IF_ERROR(CheckLoader(format, output.loader));
  QD_RETURN_IF_ERROR(CheckKinds(format, linears));
  std::vector<ResolvedLinear> settled = linears;
  if (format.settle != nullptr) format.settle(settled, model);
  QD_RETURN_IF_ERROR(Together(format.accepts(
      settled, model, {.name = output.loader, .tensor_parallel = output.tensor_parallel})));
  linears = std::move(settled);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PickedFormat> PickFormat(const OutputRequest& output, const ModelSpec& model,
                                        std::vector<ResolvedLinear>& linears) {
  if (!output.format.empty()) {
    const Format* format = FindFormat(output.format);
    if (format == nullptr) {
      return MakeError(Reason::kFormatCannotHold, "refused",
                       Violation{.where = "output.format",
                                 .got = output.format,
                                 .wanted = "one of " + NamesOf(Formats())});
    }
    QD_RETURN_IF_ERROR(Fit(*format, output, model, linears));
    return PickedFormat{.format = format};
  }
  absl::Status refused;  // by the first
  for (const std::string_view name : kByPreference) {
    const Format* format = FindFormat(name);
    absl::Status fit = Fit(*format, output, model, linears);
    if (fit.ok()) {
      PickedFormat picked = {.format = format};
      if (!refused.ok()) {
        const Violation why = ViolationsOf(refused).front();
        picked.warning =
            absl::StrCat("written as ", ToAbsl(name), ": ", ToAbsl(kByPreference.front()),
                         " cannot hold it (", why.where, ": ", why.got, ")");
      }
      return picked;
    }
    if (refused.ok()) refused = std::move(fit);
  }
  return refused;
}

}  // namespace quantd
