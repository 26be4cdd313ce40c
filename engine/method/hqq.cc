#include "engine/method/hqq.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/method/hqq_rows.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"
#include "engine/method/weight_only_rows.h"

namespace quantd {
namespace {

constexpr int kBits[] = {1, 2, 3, 4, 5, 6, 8};

constexpr std::array<OptionRow, 1> kBitsRow = {
    {{"bits", "int", "4", "1, 2, 3, 4, 5, 6, 8",
      "bits of one code; 1.58 is said as bits 2 with option ternary"}}};

constexpr std::array<OptionRow, 9> kOwnRows = {
    {{"solver", "enum", "search", "search, half-quadratic, admm",
      "search: scale and zero with the least squared error; half-quadratic: the reference's "
      "iteration over the zero, the scale from the range; admm: the same split with a multiplier; "
      "half-quadratic by default where weighted is false"},
     {"weighted", "bool", "true", "true, false",
      "weight errors by the mean x^2 of their input (needs calibration)"},
     {"axis", "int", "1", "0..1",
      "1: a group is neighbouring inputs of a row; 0: outputs of one input, every N / group_size "
      "rows "
      "(all of them alike to the inputs: weighted changes nothing)"},
     {"ternary", "bool", "false", "true, false", "three levels (1.58 bits), stored in 2 bits"},
     {"stop", "enum", "tensor", "tensor, group",
      "half-quadratic: all groups stop together when the mean error of the tensor grows (the "
      "reference), or each keeps its own best zero"},
     {"iterations", "int", "20", "1..1000", "updates of half-quadratic and admm"},
     {"lp_norm", "float", "0.7", "0.1..1", "p of |error|^p in half-quadratic and admm"},
     {"beta", "float", "10", "0.001..1000000", "weight of the split in half-quadratic and admm"},
     {"kappa", "float", "1.01", "1..10", "growth of beta per update"}}};

constexpr auto kOptions = JoinRows(kBitsRow, kRealZeroRows, kOwnRows);

absl::StatusOr<Scheme> Resolve(const SchemeRequest& request, const LinearSpec& linear,
                               DType model_dtype) {
  Scheme defaults;
  defaults.method = "hqq";
  defaults.group_size = 64;
  defaults.symmetric = false;
  defaults.real_zero = true;
  defaults.scale_dtype = model_dtype;
  SchemeReader reader(request, linear, defaults, kOptions);
  Scheme& scheme = reader.scheme();
  const bool weighted = scheme.options.Flag("weighted");
  if (std::find(std::begin(kBits), std::end(kBits), scheme.bits) == std::end(kBits)) {
    reader.Wrong(absl::StrCat("bits ", scheme.bits), "1, 2, 3, 4, 5, 6 or 8");
  }
  if (scheme.symmetric) reader.Wrong("symmetric true", "false: zero points are real numbers");
  if (scheme.granularity == Granularity::kTensor) {
    reader.Wrong("granularity tensor", "group or channel");
  }
  if (request.scale_rule.has_value()) {
    reader.Wrong(absl::StrCat("scale_rule ", ToAbsl(NameOf(scheme.scale_rule))),
                 "none: options solver and weighted say how scales are chosen");
  }
  if (scheme.activations != ActivationScheme::kNone) {
    reader.Wrong(absl::StrCat("activations ", ToAbsl(NameOf(scheme.activations))), "none");
  }
  if (scheme.options.Flag("ternary") && scheme.bits != 2) {
    reader.Wrong(absl::StrCat("option ternary with bits ", scheme.bits), "bits 2");
  }
  if (scheme.options.Integer("axis") == 0) {
    if (scheme.granularity != Granularity::kGroup) {
      reader.Wrong("option axis 0 with granularity channel", "granularity group");
    } else if (linear.out_features % scheme.group_size != 0) {
      reader.Wrong(absl::StrCat("option axis 0 with group_size ", scheme.group_size, " for ",
                                linear.out_features, " outputs"),
                   "a divisor of the outputs");
    }
  }
  // Without weights of the inputs the search ruins models with activation outliers.
  if (!weighted && !request.options.values().contains("solver")) {
    scheme.options.Set("solver", std::string("half-quadratic"));
  }
  scheme.scale_rule = weighted ? ScaleRule::kWeightedMse : ScaleRule::kMse;
  return reader.Finish();
}

// With axis 0 all weights of a group meet the same input.
StatisticsNeeds Needs(const Scheme& scheme) {
  const bool weighted = scheme.options.Flag("weighted") && scheme.options.Integer("axis") == 1;
  return {.moments = weighted, .gram_block = 0, .histogram = false};
}

absl::StatusOr<std::shared_ptr<const Prepared>> Prepare(const Scheme& scheme,
                                                        const InputStatistics* statistics,
                                                        const MethodContext& /*context*/) {
  auto prepared = std::make_shared<Prepared>();
  if (Needs(scheme).any() && statistics != nullptr) {
    prepared->importance = ImportanceOf(*statistics);
  }
  return prepared;
}

bool AllRows(const Scheme& scheme) { return HqqSettings(scheme).all_rows(); }

}  // namespace

const Method kHqq = {
    .name = "hqq",
    .summary = "real zero points, weight-only, 1-8 bits; scale and zero by weighted least squares",
    .source =
        "half-quadratic iteration: Badri and Shaji, HQQ (2023), as hqq 0.2.8.post1 runs it; the "
        "weighted search is quantd's (docs/numerics.md)",
    .bits = kBits,
    .needs_calibration = true,
    .options = kOptions,
    .resolve = Resolve,
    .needs = Needs,
    .transform = nullptr,
    .prepare = Prepare,
    .quantize = QuantizeHqq,
    .calibration_tokens = int64_t{4} * 512,
    .all_rows = AllRows,
};

}  // namespace quantd
