#include "engine/method/hqq.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "engine/backend/real_zero_rules.h"
#include "engine/method/admm.h"
#include "engine/method/half_quadratic.h"
#include "engine/method/round_to_nearest.h"
#include "engine/method/scheme_request.h"

namespace quantd {
namespace {

constexpr int kBits[] = {1, 2, 3, 4, 5, 6, 8};

constexpr OptionRow kOptions[] = {
    {"bits", "int", "4", "1, 2, 3, 4, 5, 6, 8",
     "bits of one code; 1.58 is said as bits 2 with option ternary"},
    {"granularity", "enum", "group", "group, channel",
     "which weights share a scale and a zero point: neighbouring inputs of a row, or a row"},
    {"group_size", "int", "64", "multiples of 8 that divide the inputs",
     "weights per scale, with granularity group"},
    {"symmetric", "bool", "false", "false", "zero points are real numbers"},
    {"solver", "enum", "search", "search, half-quadratic, admm",
     "search: scale and zero with the least squared error; half-quadratic: the reference's "
     "iteration over the zero, the scale from the range; admm: the same split with a multiplier; "
     "half-quadratic by default where weighted is false"},
    {"weighted", "bool", "true", "true, false",
     "weight errors by the mean x^2 of their input (needs calibration)"},
    {"ternary", "bool", "false", "true, false", "three levels (1.58 bits), stored in 2 bits"},
    {"stop", "enum", "tensor", "tensor, group",
     "half-quadratic: all groups stop together when the mean error of the tensor grows (the "
     "reference), or each keeps its own best zero"},
    {"iterations", "int", "20", "1..1000", "updates of half-quadratic and admm"},
    {"lp_norm", "float", "0.7", "0.1..1", "p of |error|^p in half-quadratic and admm"},
    {"beta", "float", "10", "0.001..1000000", "weight of the split in half-quadratic and admm"},
    {"kappa", "float", "1.01", "1..10", "growth of beta per update"},
};

enum class Solver { kSearch, kHalfQuadratic, kAdmm };

// The options of a resolved scheme.
struct HqqSettings {
  Solver solver = Solver::kSearch;
  RealZeroCodes codes;
  HalfQuadratic iteration;
  bool stop_together = false;
  bool round_start = false;

  explicit HqqSettings(const Scheme& scheme);
  int most() const { return codes.high - codes.low; }
};

HqqSettings::HqqSettings(const Scheme& scheme) {
  const std::string name = scheme.options.Text("solver");
  if (name == "half-quadratic") solver = Solver::kHalfQuadratic;
  if (name == "admm") solver = Solver::kAdmm;
  codes = {.low = scheme.qmin(),
           .high = scheme.options.Flag("ternary") ? scheme.qmin() + 2 : scheme.qmax(),
           .offset = -scheme.qmin(),
           .dtype = scheme.scale_dtype};
  stop_together = solver == Solver::kHalfQuadratic && scheme.options.Text("stop") == "tensor";
  round_start = scheme.bits == 4;  // as the reference
  iteration = {.updates = {.count = static_cast<int>(scheme.options.Integer("iterations")),
                           .keep_best = !stop_together},
               .norm = scheme.options.Number("lp_norm"),
               .beta = scheme.options.Number("beta"),
               .kappa = scheme.options.Number("kappa")};
}

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
  // Without weights of the inputs the search ruins models with activation outliers.
  if (!weighted && !request.options.values().contains("solver")) {
    scheme.options.Set("solver", std::string("half-quadratic"));
  }
  scheme.scale_rule = weighted ? ScaleRule::kWeightedMse : ScaleRule::kMse;
  return reader.Finish();
}

StatisticsNeeds Needs(const Scheme& scheme) {
  return {.moments = scheme.options.Flag("weighted"), .gram_block = 0, .histogram = false};
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

// One linear, or a panel of it.
class RealZeroQuantizer {
 public:
  RealZeroQuantizer(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                    const MethodContext& context, QuantizedRows& out)
      : weight_(weight),
        settings_(scheme),
        kernels_(context.kernels),
        groups_(out.groups),
        group_size_(weight.columns / out.groups),
        out_(out) {
    if (prepared != nullptr && !prepared->importance.empty()) {
      importance_ = prepared->importance.data();
    }
  }

  const HqqSettings& settings() const { return settings_; }
  // Ends the iteration of every group after so many updates.
  void Stop(int updates) { settings_.iteration.updates.count = updates; }

  // Adds the errors of rows [begin, end) before each update to errors[updates].
  absl::Status MeasureUpdates(int64_t begin, int64_t end, std::vector<double>& errors) const {
    return EachGroup(begin, end, [&](const WeightGroup& group, int64_t, int64_t) {
      ZeroLine line = LineOfRange(group, settings_.most(), settings_.round_start);
      UpdateZero(group, settings_.most(), settings_.iteration, kernels_.real_zero, &line,
                 errors.data());
    });
  }

  // Quantizes rows [begin, end), adding up their energies.
  absl::Status Quantize(int64_t begin, int64_t end, double* weight_energy, double* error_energy) {
    return EachGroup(begin, end, [&](const WeightGroup& group, int64_t row, int64_t at) {
      const size_t index = static_cast<size_t>(row * groups_ + at);
      float& scale = out_.scales[index];
      float& zero = out_.real_zeros[index];
      Choose(group, &scale, &zero);
      kernels_.real_zero.quantize(group.weights, group.count, scale, zero, settings_.codes,
                                  out_.codes.data() + row * weight_.columns + at * group_size_,
                                  weight_energy, error_energy);
    });
  }

 private:
  template <typename Body>
  absl::Status EachGroup(int64_t begin, int64_t end, const Body& body) const {
    std::vector<float> row(static_cast<size_t>(weight_.columns));
    for (int64_t n = begin; n < end; ++n) {
      QD_RETURN_IF_ERROR(WidenRow(weight_, n, kernels_, row.data()));
      for (int64_t at = 0; at < groups_; ++at) {
        const float* importance = importance_ == nullptr ? nullptr : importance_ + at * group_size_;
        body(WeightGroup{row.data() + at * group_size_, importance, group_size_}, n, at);
      }
    }
    return absl::OkStatus();
  }

  void Choose(const WeightGroup& group, float* scale, float* zero) const {
    if (settings_.solver == Solver::kSearch) {
      kernels_.real_zero.search(group.weights, group.importance, group.count, settings_.codes,
                                scale, zero);
      return;
    }
    const int most = settings_.most();
    ZeroLine line = LineOfRange(group, most, settings_.round_start);
    if (settings_.solver == Solver::kAdmm) {
      UpdateZeroByAdmm(group, most, settings_.iteration, &line);
    } else {
      UpdateZero(group, most, settings_.iteration, kernels_.real_zero, &line, nullptr);
    }
    *scale = rules::RoundScale(1.0f / line.inverse, settings_.codes.dtype);
    *zero =
        rules::RoundZero(line.zero - static_cast<float>(settings_.codes.offset), settings_.codes);
  }

  const WeightRows& weight_;
  HqqSettings settings_;
  const QuantizeKernels& kernels_;
  int64_t groups_, group_size_;
  const float* importance_ = nullptr;
  QuantizedRows& out_;
};

bool AllRows(const Scheme& scheme) { return HqqSettings(scheme).stop_together; }

// All rows, in panels on all threads: once for the errors after each update, which say when to
// stop, and once for the codes.
absl::Status QuantizeTogether(RealZeroQuantizer& quantizer, const MethodContext& context,
                              QuantizedRows* out) {
  const int64_t panel = std::max<int64_t>(1, (256 << 10) / out->columns);
  const int64_t panels = DivideRoundingUp(out->rows, panel);
  const auto end_of = [&](int64_t at) { return std::min(out->rows, (at + 1) * panel); };
  const size_t updates = static_cast<size_t>(quantizer.settings().iteration.updates.count);
  std::vector<std::vector<double>> errors(static_cast<size_t>(panels),
                                          std::vector<double>(updates, 0.0));
  QD_RETURN_IF_ERROR(context.pool.ForEach(panels, [&](int64_t at) {
    return quantizer.MeasureUpdates(at * panel, end_of(at), errors[static_cast<size_t>(at)]);
  }));
  std::vector<double> total(updates, 0.0);
  for (const std::vector<double>& part : errors) {
    for (size_t i = 0; i < updates; ++i) total[i] += part[i];
  }
  quantizer.Stop(UpdatesUntilWorse(total));
  std::vector<std::pair<double, double>> energies(static_cast<size_t>(panels));
  QD_RETURN_IF_ERROR(context.pool.ForEach(panels, [&](int64_t at) {
    auto& [weight_energy, error_energy] = energies[static_cast<size_t>(at)];
    return quantizer.Quantize(at * panel, end_of(at), &weight_energy, &error_energy);
  }));
  for (const auto& [weight_energy, error_energy] : energies) {
    out->weight_energy += weight_energy;
    out->error_energy += error_energy;
  }
  return absl::OkStatus();
}

absl::Status Quantize(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                      const MethodContext& context, QuantizedRows* out) {
  *out = RoomFor(scheme, weight.rows, weight.columns);
  RealZeroQuantizer quantizer(weight, scheme, prepared, context, *out);
  if (quantizer.settings().stop_together) return QuantizeTogether(quantizer, context, out);
  return quantizer.Quantize(0, weight.rows, &out->weight_energy, &out->error_energy);
}

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
    .fold = nullptr,
    .prepare = Prepare,
    .quantize = Quantize,
    .all_rows = AllRows,
};

}  // namespace quantd
