#include "engine/method/scheme_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/gguf/block_layout.h"
#include "engine/gguf/block_types.h"
#include "engine/method/block_scheme.h"

namespace quantd {
namespace {

// Group sizes that loaders know and that divide `in_features`, as text, widest first.
std::string SizesThatFit(int64_t in_features) {
  std::string sizes;
  int64_t likely = 0;  // what most people take: 128, or the widest below it
  for (const int64_t size : {1024, 512, 256, 128, 64, 32, 16, 8}) {
    if (in_features % size != 0) continue;
    absl::StrAppend(&sizes, sizes.empty() ? "" : ", ", size);
    if (likely == 0 && size <= 128) likely = size;
  }
  if (sizes.empty()) return "granularity channel (no multiple of 8 divides the inputs)";
  return absl::StrCat(sizes, " or granularity channel (--group-size ", likely, ")");
}

}  // namespace

SchemeReader::SchemeReader(const SchemeRequest& request, const LinearSpec& linear, Scheme defaults,
                           std::span<const OptionRow> rows)
    : linear_(linear), scheme_(std::move(defaults)) {
  if (request.bits.has_value()) scheme_.bits = *request.bits;
  if (request.symmetric.has_value()) scheme_.symmetric = *request.symmetric;
  if (request.scale_rule.has_value()) scheme_.scale_rule = *request.scale_rule;
  if (request.activations.has_value()) scheme_.activations = *request.activations;
  ReadNumberFormat(request);
  ReadGranularity(request);
  ReadOptions(request, rows);
}

// A format of integers is its bits. A floating one says how scales are shared, and has no zeros.
void SchemeReader::ReadNumberFormat(const SchemeRequest& request) {
  if (!request.number_format.has_value()) return;
  if (const Mixture* mixture = FindMixture(*request.number_format); mixture != nullptr) {
    ReadBlocks(request, *mixture);
    return;
  }
  const NumberFormat* format = FindNumberFormat(*request.number_format);
  if (format == nullptr) {
    Wrong("number_format " + *request.number_format,
          "one of " + NumberFormatNames() + ", " + BlockFormatNames());
    return;
  }
  if (request.bits.has_value() && *request.bits != format->bits) {
    Wrong(absl::StrCat("bits ", *request.bits, " with number_format ", ToAbsl(format->name)),
          "one of the two");
  }
  scheme_.bits = format->bits;
  if (!format->floating()) return;
  if (scheme_.real_zero) {
    Wrong(absl::StrCat("number_format ", ToAbsl(format->name), " with real zero points"),
          "integers; or method rtn with scale_rule weighted-mse, whose search finds the scales of "
          "floating formats as this one does those of integers");
    return;
  }
  scheme_.number = format;
  scheme_.symmetric = true;
  scheme_.granularity = format->group_size > 0 ? Granularity::kGroup : Granularity::kChannel;
  scheme_.group_size = format->group_size;
  const std::string with = absl::StrCat(" with number_format ", ToAbsl(format->name));
  if (request.symmetric == false) Wrong("symmetric false" + with, "symmetric true");
  if (format->group_rows == 1) return;
  // X^T X weighs the errors of one row; a scale of several is not improved by it.
  WeighBySquares(request, with, "scale_rule absmax, mse or weighted-mse");
}

void SchemeReader::WeighBySquares(const SchemeRequest& request, const std::string& with,
                                  std::string wanted) {
  if (request.scale_rule == ScaleRule::kHessian) {
    Wrong("scale_rule hessian" + with, std::move(wanted));
  }
  if (scheme_.scale_rule == ScaleRule::kHessian) scheme_.scale_rule = ScaleRule::kWeightedMse;
}

// Blocks say everything but how their contents are searched for. Until SettleBlocks knows better
// the type is that of most weights.
void SchemeReader::ReadBlocks(const SchemeRequest& request, const Mixture& mixture) {
  const BlockType& base = *FindBlockType(mixture.base);
  const std::string with = absl::StrCat(" with number_format ", ToAbsl(mixture.name));
  if (base.layout == nullptr) {
    Wrong("number_format " + *request.number_format,
          "one of " + BlockFormatNames() + ", or method gguf, which keeps values");
    return;
  }
  scheme_.bits = base.bits;
  scheme_.layout = std::string(mixture.name);
  scheme_.block = &base;
  scheme_.granularity = Granularity::kGroup;
  scheme_.group_size = base.elements;
  scheme_.symmetric = !base.layout->has_min();
  constexpr std::string_view kNone = "none: the block type says it";
  if (request.bits.has_value()) Wrong("bits" + with, std::string(kNone));
  if (request.group_size.has_value() || request.granularity.has_value()) {
    Wrong("a group size or granularity" + with, std::string(kNone));
  }
  if (request.symmetric.has_value()) Wrong("symmetric" + with, std::string(kNone));
  if (scheme_.real_zero) Wrong("real zero points" + with, "integers");
  WeighBySquares(request, with, "absmax, mse or weighted-mse");
}

// What a floating format fixes of the groups.
void SchemeReader::CheckFloatingGroups() {
  const NumberFormat& format = *scheme_.number;
  const bool fits = format.group_size > 0 ? scheme_.granularity == Granularity::kGroup &&
                                                scheme_.group_size == format.group_size
                                          : scheme_.granularity != Granularity::kGroup;
  if (fits) return;
  Wrong(absl::StrCat("number_format ", ToAbsl(format.name), " per ",
                     ToAbsl(NameOf(scheme_.granularity)),
                     scheme_.group_size > 0 ? absl::StrCat(" of ", scheme_.group_size) : ""),
        format.group_size > 0 ? absl::StrCat("groups of ", format.group_size)
                              : "granularity channel or tensor");
}

void SchemeReader::OnlyIntegers() {
  if (!scheme_.floating() && scheme_.block == nullptr) return;
  Wrong(absl::StrCat("number_format ",
                     scheme_.floating() ? ToAbsl(scheme_.number->name) : scheme_.layout),
        "integers (methods rtn, awq and gptq have floating formats and blocks)");
}

void SchemeReader::CheckInputs(std::string_view wanted) {
  const ActivationScheme activations = scheme_.activations;
  if (activations == ActivationScheme::kNone) return;
  const std::string got = absl::StrCat("activations ", ToAbsl(NameOf(activations)));
  if (!scheme_.floating()) {
    Wrong(got, std::string(wanted));
    return;
  }
  // What is found at run time, and what cannot be.
  const bool is_static = activations == ActivationScheme::kStatic;
  const std::string with = absl::StrCat(got, " with number_format ", ToAbsl(scheme_.number->name));
  if (scheme_.number->scale == ScaleKind::kE4M3 && !is_static) {
    Wrong(with, "static or none: the tensor scale of inputs is found in calibration");
  } else if (scheme_.number->scale != ScaleKind::kE4M3 && scheme_.number->group_size > 0 &&
             is_static) {
    Wrong(with, "dynamic or none");
  }
}

void SchemeReader::ReadOptions(const SchemeRequest& request, std::span<const OptionRow> rows) {
  scheme_.options = FallbacksOf(rows);
  std::string known;
  for (const OptionRow& row : rows) {
    if (IsSchemeField(row.name)) continue;
    absl::StrAppend(&known, known.empty() ? "" : ", ", ToAbsl(row.name));
  }
  for (const auto& [name, value] : request.options.values()) {
    const OptionRow* row = IsSchemeField(name) ? nullptr : FindOption(rows, name);
    if (row == nullptr) {
      Wrong(absl::StrCat("option ", name), known.empty() ? "no options" : "one of " + known);
      continue;
    }
    const auto checked = CheckOption(*row, value);
    if (checked.ok()) scheme_.options.Set(name, *checked);
    for (const Violation& violation : ViolationsOf(checked.status())) {
      Wrong(absl::StrCat("option ", name, " ", violation.got), violation.wanted);
    }
  }
}

void SchemeReader::ReadGranularity(const SchemeRequest& request) {
  if (scheme_.block != nullptr) return;
  // A group size alone asks for groups; 0 and -1, as other tools write it, for whole rows.
  const bool asks_size = request.group_size.has_value();
  if (request.granularity.has_value()) {
    scheme_.granularity = *request.granularity;
  } else if (asks_size) {
    scheme_.granularity = *request.group_size > 0 ? Granularity::kGroup : Granularity::kChannel;
  }
  if (scheme_.granularity != Granularity::kGroup) {
    scheme_.group_size = 0;
    return;
  }
  if (asks_size) {
    scheme_.group_size = *request.group_size;
  } else if (scheme_.group_size == 0) {
    scheme_.group_size = 128;
  }
  CheckGroupSize();
}

void SchemeReader::CheckGroupSize() {
  const int64_t size = scheme_.group_size;
  const std::string got =
      absl::StrCat("group_size ", size, " for ", linear_.in_features, " inputs");
  if (size < 8 || size % 8 != 0) {
    Wrong(got, absl::StrCat("a positive multiple of 8: ", SizesThatFit(linear_.in_features)));
  } else if (linear_.in_features % size != 0) {
    Wrong(got, absl::StrCat("a divisor of the inputs: ", SizesThatFit(linear_.in_features)));
  }
}

void SchemeReader::Wrong(std::string got, std::string wanted) {
  violations_.push_back({linear_.name, std::move(got), std::move(wanted)});
}

absl::StatusOr<Scheme> SchemeReader::Finish() {
  // A search over a whole tensor would need all of it in f32 at once.
  if (scheme_.granularity == Granularity::kTensor && scheme_.scale_rule != ScaleRule::kAbsmax) {
    Wrong(
        absl::StrCat("scale_rule ", ToAbsl(NameOf(scheme_.scale_rule)), " with granularity tensor"),
        "scale_rule absmax, or granularity channel");
  }
  if (scheme_.floating()) CheckFloatingGroups();
  if (!violations_.empty()) {
    return MakeError(Reason::kRecipeInvalid, "the scheme does not fit the linear",
                     std::move(violations_));
  }
  return scheme_;
}

}  // namespace quantd
