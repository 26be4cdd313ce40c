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
    const int64_t rows = panel_.rows;
    unit_ = panel_.blocks == nullptr ? panel_.group_size : panel_.blocks->type->elements;
    block_ = std::min(panel_.columns, unit_ >= kBlock ? unit_ : kBlock / unit_ * unit_);
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
      for (int64_t at = begin; at < begin + count; at += unit_) {
        QD_RETURN_IF_ERROR(panel_.blocks == nullptr ? RefitScale(begin, count, at)
                                                    : RefitBlock(begin, count, at));
      }
      for (int64_t at = begin; at < begin + count; at += kTogether) {
        QD_RETURN_IF_ERROR(MoveCodes(begin, count, at, std::min(kTogether, begin + count - at)));
      }
    }
    return absl::OkStatus();
  }

  // What a change of the weights of channels [at, at + size) along u[size, rows] does to a row's
  // error: with r = H e, it is least after a change of u.r / u.H u. To product_, along_ and curve_.
  absl::Status Look(int64_t begin, int64_t count, int64_t at, int64_t size, const float* u) {
    const int64_t rows = panel_.rows;
    QD_RETURN_IF_ERROR(Multiply(begin, count, at, size, u, 1, 0, product_.data()));
    along_.assign(static_cast<size_t>(rows), 0);
    curve_.assign(static_cast<size_t>(rows), 0);
    for (int64_t k = 0; k < size; ++k) {
      const float* step = u + k * rows;
      const float* gradient = gradient_.data() + (at - begin + k) * rows;
      const float* product = product_.data() + (at - begin + k) * rows;
      for (int64_t n = 0; n < rows; ++n) {
        along_[static_cast<size_t>(n)] += step[n] * gradient[n];
        curve_[static_cast<size_t>(n)] += step[n] * product[n];
      }
    }
    return absl::OkStatus();
  }

  // Goes moves_[rows] along the u that was looked at.
  void Go(int64_t count, int64_t at, int64_t size, const float* u) {
    const int64_t rows = panel_.rows;
    for (int64_t k = 0; k < size; ++k) {
      const float* step = u + k * rows;
      float* error = panel_.error + (at + k) * rows;
      for (int64_t n = 0; n < rows; ++n) error[n] -= moves_[static_cast<size_t>(n)] * step[n];
    }
    for (int64_t k = 0; k < count; ++k) {
      const float* product = product_.data() + k * rows;
      float* gradient = gradient_.data() + k * rows;
      for (int64_t n = 0; n < rows; ++n) gradient[n] -= moves_[static_cast<size_t>(n)] * product[n];
    }
  }

  // The scales of the group at channel `at`, the steps staying.
  absl::Status RefitScale(int64_t begin, int64_t count, int64_t at) {
    const int64_t rows = panel_.rows, size = panel_.group_size;
    const float* steps = panel_.steps + at * rows;
    QD_RETURN_IF_ERROR(Look(begin, count, at, size, steps));
    float* scales = panel_.scales + at / size * rows;
    moves_.resize(static_cast<size_t>(rows));
    for (size_t n = 0; n < moves_.size(); ++n) {
      moves_[n] = ChangeOf(scales[n], along_[n], curve_[n]);
      scales[n] += moves_[n];
    }
    Go(count, at, size, steps);
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

  // The parts of the block at channel `at`, the codes staying: its halves, then the integers of
  // each sub-block.
  absl::Status RefitBlock(int64_t begin, int64_t count, int64_t at) {
    BlockPanel& blocks = *panel_.blocks;
    const BlockLayout& layout = blocks.layout();
    const int64_t rows = panel_.rows, index = at / unit_, size = layout.size();
    const auto half = [](float value) { return RoundToHalf(value); };
    direction_.resize(static_cast<size_t>(unit_ * rows));
    float* d = blocks.d.data() + index * rows;
    float* dmin = blocks.dmin.data() + index * rows;
    for (const bool mins : {false, true}) {
      if (mins && !layout.has_min()) continue;
      for (int64_t k = 0; k < unit_; ++k)
        Derive(mins, at + k, nullptr, direction_.data() + k * rows);
      QD_RETURN_IF_ERROR(Look(begin, count, at, unit_, direction_.data()));
      Settle(mins ? dmin : d, half, kMostGrowth);
      Go(count, at, unit_, direction_.data());
    }
    for (int64_t sub = at; sub < at + unit_ && layout.nested(); sub += size) {
      for (const bool mins : {false, true}) {
        if (mins && !layout.has_min()) continue;
        const auto low = static_cast<float>(mins ? 0 : layout.scale_low);
        const auto high = static_cast<float>(mins ? layout.min_high : layout.scale_high);
        for (int64_t k = 0; k < size; ++k) {
          Derive(mins, sub + k, mins ? dmin : d, direction_.data() + k * rows);
        }
        QD_RETURN_IF_ERROR(Look(begin, count, sub, size, direction_.data()));
        Settle((mins ? blocks.min_code : blocks.scale_code).data() + sub / size * rows,
               [=](float value) { return rules::RoundToInteger(rules::Clamp(value, low, high)); },
               0);
        Go(count, sub, size, direction_.data());
      }
    }
    blocks.Spread(index, panel_.scales, panel_.mins);
    return absl::OkStatus();
  }

  // How the dequantized weights of a channel grow with a part of its block, u[rows]: with d or
  // dmin, or, where these are given, with the integer of its sub-block.
  void Derive(bool mins, int64_t channel, const float* halves, float* u) {
    const int64_t rows = panel_.rows, sub = channel / panel_.group_size;
    const BlockPanel& blocks = *panel_.blocks;
    const float* factor = halves;
    if (factor == nullptr)
      factor = (mins ? blocks.min_code : blocks.scale_code).data() + sub * rows;
    const float* step = panel_.steps + channel * rows;
    for (int64_t n = 0; n < rows; ++n) u[n] = mins ? -factor[n] : factor[n] * step[n];
  }

  // Moves values[rows] to where the error is least, as they are stored, where that is better; by
  // the way they go to moves_. With `growth` they stay of their sign and below so many times
  // themselves.
  template <typename Stored>
  void Settle(float* values, const Stored& stored, float growth) {
    moves_.assign(static_cast<size_t>(panel_.rows), 0);
    for (size_t n = 0; n < moves_.size(); ++n) {
      if (!(curve_[n] > 0)) continue;
      const float value = values[n], wanted = value + along_[n] / curve_[n];
      if (growth > 0 && !(wanted / value > 0 && wanted / value < growth)) continue;
      const float change = stored(wanted) - value;
      if (!(change * (2 * along_[n] - change * curve_[n]) > 0)) continue;
      moves_[n] = change;
      values[n] += change;
      moved_ = true;
    }
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
    const rules::Steps steps = StepsOfCodes();
    if (scheme_.floating()) return MoveToLevels(channel, gradient, change);
    float most = 0;
    for (int64_t n = 0; n < rows; ++n) {
      const float wanted = step[n] * scale[n] + gradient[n] * inverse;
      const float nearest =
          scheme_.real_zero
              ? rules::RealStepOf(wanted, scale[n], zero[n], steps.low, steps.high)
              : rules::StepOf(wanted, scale[n], {steps.low - zero[n], steps.high - zero[n]});
      const float moved = scale[n] == 0 ? step[n] : nearest;  // 0: a sub-block of one value
      change[n] = (moved - step[n]) * scale[n];
      step[n] = moved;
      error[n] -= change[n];
      most = rules::Larger(rules::Magnitude(change[n]), most);
    }
    return most;
  }

  rules::Steps StepsOfCodes() const {
    if (panel_.blocks == nullptr) return rules::StepsOf(scheme_.bits, 0);
    const BlockLayout& layout = panel_.blocks->layout();
    return {static_cast<float>(layout.low), static_cast<float>(layout.high)};
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
  int64_t unit_ = 0;  // channels whose scales are refitted together: a group or a block
  int64_t block_ = 0;
  bool moved_ = false;
  std::vector<float> gradient_;       // [block, rows]: H e of the block
  std::vector<float> product_;        // [block, rows]: H u, u what was looked along
  std::vector<float> along_, curve_;  // [rows]: u.r and u.H u
  std::vector<float> moves_;          // [rows]: how far each goes along u
  std::vector<float> direction_;      // [unit, rows]: u of a part of a block
  std::vector<float> change_, near_;  // [kTogether, rows]
};

}  // namespace

absl::Status DescendOnCodes(const Scheme& scheme, const DampedHessian& hessian, int64_t rounds,
                            const MethodContext& context, RoundedPanel panel) {
  return CodeDescent(scheme, hessian, context, panel).Run(rounds);
}

}  // namespace quantd
