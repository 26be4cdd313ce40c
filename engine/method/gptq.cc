#include "engine/method/gptq.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/method/block_scheme.h"
#include "engine/method/gptq_panel.h"
#include "engine/method/hessian_factor.h"
#include "engine/method/output_scales.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

constexpr std::array<OptionRow, 1> kOwnRow = {
    {{"reference", "bool", "false", "true, false",
      "what the reference implementation does: scales by range, no refit"}}};

constexpr auto kOptions = JoinRows(kBits2To8Row, kNumberFormatRow, kIntegerZeroRows, kGptqRuleRow,
                                   kGptqRoundingRows, kTuneRow, kOwnRow);

ActOrder OrderOf(const Scheme& scheme) {
  const std::string text = scheme.options.Text("act_order");
  if (text == "none") return ActOrder::kNone;
  if (text == "static") return ActOrder::kStatic;
  return text == "desc-act" ? ActOrder::kDescAct : ActOrder::kGroupAware;
}

// The channel at each position; the last is rounded first.
std::vector<int32_t> Positions(ActOrder order, const std::vector<float>& diagonal,
                               int64_t group_size) {
  const int64_t channels = static_cast<int64_t>(diagonal.size());
  std::vector<int32_t> turn(diagonal.size());  // first to last
  std::iota(turn.begin(), turn.end(), 0);
  const auto falling = [&](int32_t a, int32_t b) {
    return diagonal[static_cast<size_t>(a)] > diagonal[static_cast<size_t>(b)];
  };
  if (order == ActOrder::kStatic || order == ActOrder::kDescAct) {
    std::stable_sort(turn.begin(), turn.end(), falling);
  }
  if (order == ActOrder::kGroupAware) {
    std::vector<std::vector<int32_t>> groups;
    for (int64_t begin = 0; begin < channels; begin += group_size) {
      groups.emplace_back(turn.begin() + begin, turn.begin() + begin + group_size);
      std::stable_sort(groups.back().begin(), groups.back().end(), falling);
    }
    std::stable_sort(groups.begin(), groups.end(),
                     [&](const auto& a, const auto& b) { return falling(a[0], b[0]); });
    auto to = turn.begin();
    for (const std::vector<int32_t>& group : groups) to = std::copy(group.begin(), group.end(), to);
  }
  std::reverse(turn.begin(), turn.end());
  return turn;
}

// Sweeps that pay, measured (docs/numerics.md).
int64_t SweepsFor(int bits) {
  if (bits <= 3) return 2;
  return bits == 4 ? 1 : 0;
}

// The group of each channel when groups are cut from the order; that of the first rounded is 0.
std::vector<int32_t> GroupsInTurn(const std::vector<int32_t>& channel_at, int64_t group_size) {
  std::vector<int32_t> group_of(channel_at.size());
  for (size_t p = 0; p < channel_at.size(); ++p) {
    const int64_t turn = static_cast<int64_t>(channel_at.size() - 1 - p);
    group_of[static_cast<size_t>(channel_at[p])] = static_cast<int32_t>(turn / group_size);
  }
  return group_of;
}

// Scales of several rows are found when their columns are rounded, and stay.
void CheckBlocksOfRows(SchemeReader& reader) {
  const Scheme& scheme = reader.scheme();
  const std::string with = absl::StrCat(" with number_format ", ToAbsl(scheme.number->name));
  if (OrderOf(scheme) == ActOrder::kDescAct) {
    reader.Wrong("option act_order desc-act" + with,
                 "group-aware, static or none: blocks are of neighbours");
  }
  if (scheme.options.Integer("refit") > 0) {
    reader.Wrong(absl::StrCat("option refit ", scheme.options.Integer("refit"), with),
                 "0: it fits the scales of each row");
  }
}

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  return ResolveGptq(request, linear, model_dtype, "gptq", kOptions);
}

}  // namespace

absl::StatusOr<Scheme> ResolveGptq(const SchemeRequest& request, const LinearSpec& linear,
                                   DType model_dtype, std::string_view method,
                                   std::span<const OptionRow> rows) {
  Scheme defaults;
  defaults.method = std::string(method);
  defaults.scale_dtype = model_dtype;
  const OptionRow* symmetric = FindOption(rows, "symmetric");
  defaults.symmetric = symmetric != nullptr && symmetric->fallback == "true";
  const auto wants_reference = request.options.values().find("reference");
  const bool reference = wants_reference != request.options.values().end() &&
                         wants_reference->second == OptionValue(true);
  defaults.scale_rule = reference ? ScaleRule::kAbsmax : ScaleRule::kWeightedMse;
  SchemeReader reader(request, linear, defaults, rows);
  const Scheme& scheme = reader.scheme();
  if (scheme.bits < 2 || scheme.bits > 8) reader.Wrong(absl::StrCat("bits ", scheme.bits), "2..8");
  if (scheme.granularity == Granularity::kTensor) {
    reader.Wrong("granularity tensor", "granularity group or channel");
  }
  reader.CheckInputs("none");
  if (reference && scheme.scale_rule != ScaleRule::kAbsmax) {
    reader.Wrong(
        absl::StrCat("scale_rule ", ToAbsl(NameOf(scheme.scale_rule)), " with option reference"),
        "scale_rule absmax");
  }
  CheckTune(reader);
  Options& options = reader.scheme().options;
  reader.scheme().ordered_groups =
      scheme.granularity == Granularity::kGroup && OrderOf(scheme) == ActOrder::kDescAct;
  if (scheme.block != nullptr && OrderOf(scheme) == ActOrder::kDescAct) {
    reader.Wrong("option act_order desc-act with number_format " + scheme.layout,
                 "group-aware, static or none: blocks are of neighbours");
  }
  if (scheme.RowsPerScale() > 1) CheckBlocksOfRows(reader);
  if (reference && options.Integer("refit") > 0) {
    reader.Wrong(absl::StrCat("option refit ", options.Integer("refit"), " with option reference"),
                 "0");
  }
  if (options.Integer("refit") < 0) options.Set("refit", reference ? 0 : SweepsFor(scheme.bits));
  return reader.Finish();
}

StatisticsNeeds GptqNeeds(const Scheme& /*scheme*/) {
  return {.moments = true, .gram_block = kWholeGram, .histogram = false};
}

absl::StatusOr<std::shared_ptr<const Prepared>> PrepareGptq(const Scheme& scheme,
                                                            const InputStatistics* statistics,
                                                            const MethodContext& context) {
  if (statistics == nullptr) return MakeError(Reason::kInternal, "gptq was given no statistics");
  QD_ASSIGN_OR_RETURN(DampedHessian hessian,
                      DampedHessian::Of(*statistics, scheme.options.Number("damping")));
  auto prepared = std::make_shared<GptqPrepared>();
  const int64_t channels = hessian.channels;
  prepared->order = OrderOf(scheme);
  prepared->channel_at =
      Positions(prepared->order, hessian.diagonal, channels / scheme.GroupsPerRow(channels));
  if (scheme.ordered_groups) {
    prepared->group_of =
        GroupsInTurn(prepared->channel_at, channels / scheme.GroupsPerRow(channels));
  }
  if (scheme.scale_rule == ScaleRule::kHessian) {
    QD_ASSIGN_OR_RETURN(
        prepared->local,
        LocalHessian::Of(*statistics, channels / scheme.GroupsPerRow(channels),
                         prepared->order == ActOrder::kStatic ? std::span<const int32_t>()
                                                              : prepared->channel_at,
                         context));
  }
  if (scheme.scale_rule == ScaleRule::kWeightedMse || scheme.scale_rule == ScaleRule::kHessian) {
    prepared->importance = ImportanceOf(*statistics);
    for (const int32_t channel : prepared->channel_at) {
      prepared->importance_at.push_back(prepared->importance[static_cast<size_t>(channel)]);
    }
  }
  QD_ASSIGN_OR_RETURN(HessianFactor factor, Factor(hessian, prepared->channel_at, context));
  prepared->lower = std::move(factor.lower);
  const int64_t group_size = channels / scheme.GroupsPerRow(channels);
  if (prepared->order != ActOrder::kStatic && group_size < channels) {
    QD_ASSIGN_OR_RETURN(prepared->inverses, InverseBlocks(prepared->lower, group_size, context));
  }
  prepared->refit = scheme.options.Integer("refit");
  hessian.damping = factor.damping;
  prepared->hessian = std::move(hessian);
  if (prepared->refit > 0 && scheme.ordered_groups) {
    QD_ASSIGN_OR_RETURN(prepared->ordered,
                        prepared->hessian.GramInOrder(prepared->channel_at, context));
    prepared->hessian = prepared->hessian.InOrder(prepared->channel_at, prepared->ordered);
  }
  prepared->figures = {{"damping", factor.damping}};
  AddFloatingInput(scheme, *statistics, *prepared);
  return prepared;
}

absl::Status QuantizeGptq(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                          const MethodContext& context, QuantizedRows* out) {
  return GptqPanel(scheme, *static_cast<const GptqPrepared*>(prepared), context).Run(weight, out);
}

const Method kGptq = {
    .name = "gptq",
    .summary = "rounding with feedback through the Hessian of the inputs, weight-only, 2-8 bits",
    .source = "GPTQ (arXiv 2210.17323) in the form of LDLQ (arXiv 2307.13304, equation 2)",
    .bits = kBits2To8,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = GptqNeeds,
    .transform = nullptr,
    .prepare = PrepareGptq,
    .quantize = QuantizeGptq,
    .panel_weights = 1 << 20,
    .tokens_per_input = 4,
    .tunes = TunesOutputScales,
    .tune = TuneOutputScales,
    .settle = SettleBlocks,
};

}  // namespace quantd
