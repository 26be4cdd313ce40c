#include "engine/method/hqq_rows.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "engine/backend/real_zero_rules.h"
#include "engine/method/admm.h"
#include "engine/method/real_zero_codes.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {
namespace {

// Weights that one piece of work looks at.
constexpr int64_t kPanelWeights = 256 << 10;

// Groups of one linear, or of a panel of it, in strips: a row, or, across rows, every row that is a
// multiple of N / group_size away from another.
class RealZeroQuantizer {
 public:
  RealZeroQuantizer(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                    const MethodContext& context, QuantizedRows& out)
      : weight_(weight),
        settings_(scheme),
        kernels_(context.kernels),
        group_size_(settings_.across_rows ? scheme.group_size : weight.columns / out.groups),
        out_(out) {
    if (prepared != nullptr && !prepared->importance.empty() && !settings_.across_rows) {
      importance_ = prepared->importance.data();
    }
  }

  const HqqSettings& settings() const { return settings_; }
  int64_t strips() const {
    return settings_.across_rows ? weight_.rows / group_size_ : weight_.rows;
  }
  // Ends the iteration of every group after so many updates.
  void Stop(int updates) { settings_.iteration.updates.count = updates; }

  // Adds the errors of strips [begin, end) before each update to errors[updates].
  absl::Status MeasureUpdates(int64_t begin, int64_t end, std::vector<double>& errors) const {
    return EachGroup(begin, end, [&](const GroupWeights& group, int64_t, int64_t) {
      ZeroLine line = LineOfRange(group, settings_.most(), settings_.round_start);
      UpdateZero(group, settings_.most(), settings_.iteration, kernels_.real_zero, &line,
                 errors.data());
    });
  }

  // Quantizes strips [begin, end), adding up their energies.
  absl::Status Quantize(int64_t begin, int64_t end, double* weight_energy, double* error_energy) {
    std::vector<int8_t> codes(static_cast<size_t>(group_size_));
    return EachGroup(begin, end, [&](const GroupWeights& group, int64_t strip, int64_t at) {
      float scale = 1, zero = 0;
      Choose(group, &scale, &zero);
      kernels_.real_zero.quantize(group.weights, group.count, scale, zero, settings_.codes,
                                  codes.data(), weight_energy, error_energy);
      if (settings_.across_rows) {
        StoreColumn(strip, at, codes, scale, zero);
      } else {
        StoreRow(strip, at, codes, scale, zero);
      }
    });
  }

 private:
  template <typename Body>
  absl::Status EachGroup(int64_t begin, int64_t end, const Body& body) const {
    std::vector<float> row(static_cast<size_t>(weight_.columns)), strip;
    for (int64_t at = begin; at < end; ++at) {
      if (settings_.across_rows) {
        QD_RETURN_IF_ERROR(Gather(at, row, strip));
      } else {
        QD_RETURN_IF_ERROR(WidenRow(weight_, at, kernels_, row.data()));
      }
      const std::vector<float>& values = settings_.across_rows ? strip : row;
      const int64_t groups = static_cast<int64_t>(values.size()) / group_size_;
      for (int64_t g = 0; g < groups; ++g) {
        const float* importance = importance_ == nullptr ? nullptr : importance_ + g * group_size_;
        body(GroupWeights{values.data() + g * group_size_, importance, group_size_}, at, g);
      }
    }
    return absl::OkStatus();
  }

  // The rows of a strip, column by column: to[K, group_size].
  absl::Status Gather(int64_t strip, std::vector<float>& row, std::vector<float>& to) const {
    to.resize(static_cast<size_t>(weight_.columns * group_size_));
    for (int64_t i = 0; i < group_size_; ++i) {
      QD_RETURN_IF_ERROR(WidenRow(weight_, i * strips() + strip, kernels_, row.data()));
      float* lane = to.data() + i;
      for (int64_t k = 0; k < weight_.columns; ++k) {
        lane[k * group_size_] = row[static_cast<size_t>(k)];
      }
    }
    return absl::OkStatus();
  }

  void StoreRow(int64_t row, int64_t group, const std::vector<int8_t>& codes, float scale,
                float zero) {
    std::copy(codes.begin(), codes.end(),
              out_.codes.begin() + row * weight_.columns + group * group_size_);
    const size_t at = static_cast<size_t>(row * out_.groups + group);
    out_.scales[at] = scale;
    out_.real_zeros[at] = zero;
  }

  void StoreColumn(int64_t strip, int64_t column, const std::vector<int8_t>& codes, float scale,
                   float zero) {
    for (int64_t i = 0; i < group_size_; ++i) {
      const auto at = static_cast<size_t>((i * strips() + strip) * weight_.columns + column);
      out_.codes[at] = codes[static_cast<size_t>(i)];
      out_.scales[at] = scale;
      out_.real_zeros[at] = zero;
    }
  }

  void Choose(const GroupWeights& group, float* scale, float* zero) const {
    if (settings_.solver == HqqSolver::kSearch) {
      kernels_.real_zero.search(group.weights, group.importance, group.count, settings_.codes,
                                scale, zero);
      return;
    }
    const int most = settings_.most();
    ZeroLine line = LineOfRange(group, most, settings_.round_start);
    if (settings_.solver == HqqSolver::kAdmm) {
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
  int64_t group_size_;
  const float* importance_ = nullptr;
  QuantizedRows& out_;
};

// All rows, in panels on all threads: where groups stop together, once for the errors after each
// update, which say when; and once for the codes.
absl::Status QuantizeAllRows(RealZeroQuantizer& quantizer, const MethodContext& context,
                             QuantizedRows* out) {
  const int64_t strips = quantizer.strips();
  const int64_t panel = std::max<int64_t>(1, kPanelWeights / (out->rows * out->columns / strips));
  const int64_t panels = DivideRoundingUp(strips, panel);
  const auto end_of = [&](int64_t at) { return std::min(strips, (at + 1) * panel); };
  if (quantizer.settings().stop_together) {
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
  }
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

}  // namespace

HqqSettings::HqqSettings(const Scheme& scheme) {
  const std::string name = scheme.options.Text("solver");
  if (name == "half-quadratic") solver = HqqSolver::kHalfQuadratic;
  if (name == "admm") solver = HqqSolver::kAdmm;
  codes = RealZeroCodesOf(scheme);
  stop_together = solver == HqqSolver::kHalfQuadratic && scheme.options.Text("stop") == "tensor";
  across_rows = scheme.options.Integer("axis") == 0;
  round_start = scheme.bits == 4;  // as the reference
  iteration = {.updates = {.count = static_cast<int>(scheme.options.Integer("iterations")),
                           .keep_best = !stop_together},
               .norm = scheme.options.Number("lp_norm"),
               .beta = scheme.options.Number("beta"),
               .kappa = scheme.options.Number("kappa")};
}

absl::Status QuantizeHqq(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                         const MethodContext& context, QuantizedRows* out) {
  *out = RoomFor(scheme, weight.rows, weight.columns);
  const HqqSettings settings(scheme);
  if (settings.across_rows) {
    out->groups = weight.columns;
    out->scales.resize(out->codes.size());
    out->real_zeros.resize(out->codes.size());
  }
  RealZeroQuantizer quantizer(weight, scheme, prepared, context, *out);
  if (settings.all_rows()) return QuantizeAllRows(quantizer, context, out);
  return quantizer.Quantize(0, weight.rows, &out->weight_energy, &out->error_energy);
}

}  // namespace quantd
