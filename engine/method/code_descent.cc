#include "engine/method/code_descent.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "engine/backend/number_kernels.h"
#include "engine/backend/real_zero_rules.h"
#include "engine/backend/rules.h"

namespace quantd {
namespace {

// Channels whose gradient is kept at a time (or a group, if that is wider), and channels whose
// codes move before the gradient of the block hears of it.
constexpr int64_t kBlock = 128;
constexpr int64_t kTogether = 16;
constexpr int kTurns = 2;  // of scales and codes, per block and sweep
constexpr float kMostGrowth = 3.0f;

class CodeDescent {
 public:
  CodeDescent(const Scheme& scheme, const DampedHessian& hessian, const MethodContext& context,
              RoundedPanel panel)
      : scheme_(scheme), hessian_(hessian), context_(context), panel_(panel) {
    const int64_t rows = panel_.rows, group = panel_.group_size;
    block_ = std::min(panel_.columns, group >= kBlock ? group : kBlock / group * group);
    gradient_.resize(static_cast<size_t>(block_ * rows));
    product_.resize(static_cast<size_t>(block_ * rows));
    change_.resize(static_cast<size_t>(kTogether * rows));
    near_.resize(static_cast<size_t>(kTogether * rows));
  }

  absl::Status Run(int64_t rounds) {
    for (int64_t round = 0; round < rounds; ++round) {
      moved_ = false;
      for (int64_t begin = 0; begin < panel_.columns; begin += block_) {
        QD_RETURN_IF_ERROR(Block(begin, std::min(block_, panel_.columns - begin)));
      }
      if (!moved_) break;
    }
    return absl::OkStatus();
  }

 private:
  // to[count, rows] = alpha H[begin.., from..] what[width, rows] + beta to.
  absl::Status Multiply(int64_t begin, int64_t count, int64_t from, int64_t width,
                        const float* what, float alpha, float beta, float* to) {
    return hessian_.Multiply(begin, count, {.values = what, .first = from, .count = width},
                             panel_.rows, alpha, beta, context_, to);
  }

  absl::Status Block(int64_t begin, int64_t count) {
    QD_RETURN_IF_ERROR(
        Multiply(begin, count, 0, panel_.columns, panel_.error, 1, 0, gradient_.data()));
    for (int turn = 0; turn < kTurns; ++turn) {
      for (int64_t at = begin; at < begin + count; at += panel_.group_size) {
        QD_RETURN_IF_ERROR(RefitScale(begin, count, at));
      }
      for (int64_t at = begin; at < begin + count; at += kTogether) {
        QD_RETURN_IF_ERROR(MoveCodes(begin, count, at, std::min(kTogether, begin + count - at)));
      }
    }
    return absl::OkStatus();
  }

  // The scales of the group at channel `at`, the steps staying: with u the steps and r = H e, the
  // error along u is least after a change of u.r / u.H u.
  absl::Status RefitScale(int64_t begin, int64_t count, int64_t at) {
    const int64_t rows = panel_.rows, size = panel_.group_size;
    const float* steps = panel_.steps + at * rows;
    QD_RETURN_IF_ERROR(Multiply(begin, count, at, size, steps, 1, 0, product_.data()));
    std::vector<float> change(static_cast<size_t>(rows)), along(change), curve(change);
    for (int64_t k = 0; k < size; ++k) {
      const float* step = steps + k * rows;
      const float* gradient = gradient_.data() + (at - begin + k) * rows;
      const float* product = product_.data() + (at - begin + k) * rows;
      for (int64_t n = 0; n < rows; ++n) {
        along[static_cast<size_t>(n)] += step[n] * gradient[n];
        curve[static_cast<size_t>(n)] += step[n] * product[n];
      }
    }
    float* scales = panel_.scales + at / size * rows;
    for (size_t n = 0; n < change.size(); ++n) {
      change[n] = ChangeOf(scales[n], along[n], curve[n]);
      scales[n] += change[n];
    }
    for (int64_t k = 0; k < size; ++k) {
      const float* step = steps + k * rows;
      float* error = panel_.error + (at + k) * rows;
      for (int64_t n = 0; n < rows; ++n) error[n] -= change[static_cast<size_t>(n)] * step[n];
    }
    for (int64_t k = 0; k < count; ++k) {
      const float* product = product_.data() + k * rows;
      float* gradient = gradient_.data() + k * rows;
      for (int64_t n = 0; n < rows; ++n) gradient[n] -= change[static_cast<size_t>(n)] * product[n];
    }
    return absl::OkStatus();
  }

  // By how much a scale changes, as stored; 0 where that would not lower the error.
  float ChangeOf(float scale, float along, float curve) {
    if (!(curve > 0)) return 0;
    const float wanted = scale + along / curve;
    if ((wanted > 0) != (scale > 0)) return 0;
    if (!(rules::Magnitude(wanted) < kMostGrowth * rules::Magnitude(scale))) return 0;
    const float change = StoredScale(wanted, scheme_) - scale;
    if (!(change * (2 * along - change * curve) > 0)) return 0;
    moved_ = true;
    return change;
  }

  // The codes of channels [at, at + width), one channel after the other, each to the step where the
  // error of its row is least.
  absl::Status MoveCodes(int64_t begin, int64_t count, int64_t at, int64_t width) {
    const int64_t rows = panel_.rows;
    std::copy_n(gradient_.data() + (at - begin) * rows, width * rows, near_.data());
    float most = 0;
    for (int64_t k = 0; k < width; ++k) {
      const int64_t channel = at + k;
      float* change = change_.data() + k * rows;
      most = std::max(most, MoveColumn(channel, near_.data() + k * rows, change));
      for (int64_t other = k + 1; other < width; ++other) {
        const float coupling = hessian_.At(channel, at + other);
        float* gradient = near_.data() + other * rows;
        for (int64_t n = 0; n < rows; ++n) gradient[n] -= coupling * change[n];
      }
    }
    if (most == 0) return absl::OkStatus();
    moved_ = true;
    return Multiply(begin, count, at, width, change_.data(), -1, 1, gradient_.data());
  }

  // Writes by how much each dequantized weight of the column grew; gives the largest.
  float MoveColumn(int64_t channel, const float* gradient, float* change) {
    const int64_t rows = panel_.rows, group = channel / panel_.group_size;
    const float* scale = panel_.scales + group * rows;
    const float* zero = panel_.zeros + group * rows;
    float* step = panel_.steps + channel * rows;
    float* error = panel_.error + channel * rows;
    const float inverse = 1.0f / hessian_.At(channel, channel);
    const rules::Steps steps = rules::StepsOf(scheme_.bits, 0);
    if (scheme_.floating()) return MoveToLevels(channel, gradient, change);
    float most = 0;
    for (int64_t n = 0; n < rows; ++n) {
      const float wanted = step[n] * scale[n] + gradient[n] * inverse;
      const float moved =
          scheme_.real_zero
              ? rules::RealStepOf(wanted, scale[n], zero[n], steps.low, steps.high)
              : rules::StepOf(wanted, scale[n], {steps.low - zero[n], steps.high - zero[n]});
      change[n] = (moved - step[n]) * scale[n];
      step[n] = moved;
      error[n] -= change[n];
      most = rules::Larger(rules::Magnitude(change[n]), most);
    }
    return most;
  }

  // The same on a floating grid.
  float MoveToLevels(int64_t channel, const float* gradient, float* change) {
    const int64_t rows = panel_.rows;
    const float* scale = panel_.scales + channel / panel_.group_size * rows;
    float* step = panel_.steps + channel * rows;
    float* error = panel_.error + channel * rows;
    const float inverse = 1.0f / hessian_.At(channel, channel);
    std::vector<float> wanted(static_cast<size_t>(rows)), moved(wanted);
    for (size_t n = 0; n < wanted.size(); ++n) {
      wanted[n] = step[n] * scale[n] + gradient[n] * inverse;
    }
    RoundToLevels(wanted.data(), scale, rows, scheme_, moved.data());
    float most = 0;
    for (size_t n = 0; n < wanted.size(); ++n) {
      change[n] = (moved[n] - step[n]) * scale[n];
      step[n] = moved[n];
      error[n] -= change[n];
      most = rules::Larger(rules::Magnitude(change[n]), most);
    }
    return most;
  }

  const Scheme& scheme_;
  const DampedHessian& hessian_;
  const MethodContext& context_;
  RoundedPanel panel_;
  int64_t block_ = 0;
  bool moved_ = false;
  std::vector<float> gradient_;       // [block, rows]: H e of the block
  std::vector<float> product_;        // [block, rows]: H u of a group
  std::vector<float> change_, near_;  // [kTogether, rows]
};

}  // namespace

absl::Status DescendOnCodes(const Scheme& scheme, const DampedHessian& hessian, int64_t rounds,
                            const MethodContext& context, RoundedPanel panel) {
  return CodeDescent(scheme, hessian, context, panel).Run(rounds);
}

}  // namespace quantd
