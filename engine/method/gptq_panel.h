// A panel of rows while GPTQ rounds it: everything is transposed, a position's values of all rows
// side by side, so that a loop over rows is a loop over neighbours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/method/block_panel.h"
#include "engine/method/damped_hessian.h"
#include "engine/method/local_hessian.h"
#include "engine/method/registry.h"
#include "engine/tensor/lower_panels.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// In which order columns are rounded, and when scales are chosen.
enum class ActOrder {
  kNone,        // as they lie
  kStatic,      // by falling mean x^2 over the whole row; scales chosen before the first
  kGroupAware,  // groups by falling maximum, inside a group by falling mean x^2
  kDescAct,     // by falling mean x^2; groups are cut from that order
};

struct GptqPrepared : Prepared {
  ActOrder order = ActOrder::kGroupAware;
  std::vector<int32_t> channel_at;   // K: the channel at each position; the last is rounded first
  std::vector<float> importance_at;  // K, by position; empty: all alike
  LowerPanels lower;                 // by position: the unit factor L of the Hessian
  LocalHessian local;  // with ScaleRule::kHessian; by position, with ActOrder::kStatic by channel
  AlignedBuffer<float> inverses;  // [groups][size, size] of L's diagonal blocks; groups in turn
  int64_t refit = 0;              // sweeps of CodeDescent
  DampedHessian hessian;          // of statistics that outlive this, or of `ordered`
  LowerPanels ordered;            // the Gram matrix by position: refit with ordered groups
};

class GptqPanel {
 public:
  GptqPanel(const Scheme& scheme, const GptqPrepared& prepared, const MethodContext& context)
      : scheme_(scheme), prepared_(prepared), context_(context) {}

  // Codes, scales and zeros of `weight`; the energies are summed too. MODEL_NOT_FINITE naming row
  // and column. Memory: 3 times the panel in f32.
  absl::Status Run(const WeightRows& weight, QuantizedRows* out);

 private:
  // Where the scale of a position is in scales_; groups that are ordered lie by position.
  int64_t ScaleAt(int64_t position) const;
  absl::Status Load(const WeightRows& weight);
  absl::Status ChooseScales(std::span<const int32_t> positions, int64_t block);
  void ChooseBlocks(std::span<const int32_t> positions, const float* weights);
  absl::Status ChooseAllScales();
  absl::Status Round(int64_t begin, int64_t end);
  absl::Status CarryOver(int64_t begin, int64_t middle, int64_t end);
  absl::Status Settle(int64_t begin, float* weights);
  void RoundColumns(int64_t begin, int64_t end);
  void ByChannel();
  void Store(QuantizedRows* out);

  const Scheme& scheme_;
  const GptqPrepared& prepared_;
  const MethodContext& context_;
  bool by_channel_ = false;  // steps and errors; positions until then
  int64_t rows_ = 0, columns_ = 0, group_size_ = 0, groups_ = 0;
  int64_t per_scale_ = 0;              // weights of a row per scale: a group, or a sub-block
  AlignedBuffer<float> target_;        // [K, rows]: what each weight should become
  AlignedBuffer<float> error_;         // [K, rows]: the weight; once rounded, what is missing
  AlignedBuffer<float> steps_;         // [K, rows]: code - zero
  std::vector<float> scales_, zeros_;  // [groups, rows], groups as they lie in the row
  std::vector<float> mins_;            // with blocks, in place of zeros: w ~ step scale - min
  BlockPanel blocks_;                  // with Scheme::block
};

}  // namespace quantd
