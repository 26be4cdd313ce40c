// What a choice of AWQ's scales costs, without a forward pass: D_n = (Q(w_n s) / s - w_n) is the
// error of one row, and the error of its outputs on the calibration data a quadratic form of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/method/registry.h"

namespace quantd {

// The form: sum of h_j D_nj^2 with h = mean x^2; D_n B D_n^T with B the diagonal blocks of X^T X /
// T that the groups of weights cut out; D_n (X^T X / T) D_n^T.
enum class AwqLoss { kDiagonal, kBlocks, kGram };

// How the search goes, from the scheme's options.
struct AwqSearchSettings {
  int64_t grid = 10;  // alpha = 0, 1/grid, .., 1
  bool duo = true;    // beta = 0, 1/4, .., 1; else 0 alone
  AwqLoss loss = AwqLoss::kDiagonal;
  // Codes by the scheme's own rule (weighted-mse where it is hessian), or by its range.
  bool search_by_rule = false;
  bool reference = false;  // as AutoAWQ: its primitive, its grid
};
AwqSearchSettings AwqSearchSettingsOf(const Scheme& scheme);

// Whether what makes x has one row for several channels.
bool SharesScales(const TransformRequest& request);

// Channels whose scales are chosen apart from those of others: one group of weights, where the loss
// is a sum over them and all linears have the same; else all of them.
int64_t AwqSegment(const TransformRequest& request, const AwqSearchSettings& settings);

struct AwqCandidate {
  double alpha = 0, beta = 0;
  std::vector<float> scales;  // [K]
};

// Measures all candidates of one input. Thread-safe.
class AwqLossMeter {
 public:
  // Everything is kept by reference.
  AwqLossMeter(const TransformRequest& request, const AwqSearchSettings& settings,
               std::span<const AwqCandidate> candidates, const MethodContext& context);

  // Rows that are best measured together.
  int64_t rows_per_panel() const { return settings_.loss == AwqLoss::kGram ? 256 : 64; }
  int64_t segment() const { return segment_; }
  // Sums that Add makes.
  size_t sums() const { return candidates_.size() * static_cast<size_t>(columns_ / segment_); }
  // Adds the losses of weights[rows, K] of a linear of that scheme to losses[K / segment,
  // candidates].
  absl::Status Add(const Scheme& scheme, const float* weights, int64_t rows, double* losses) const;

 private:
  // One group of weights of one candidate.
  struct Place {
    size_t candidate;
    int64_t column, count;
  };
  double Round(const Scheme& scheme, const Place& place, const float* weights, float* scaled,
               float* errors) const;
  void AddDiagonal(const Scheme& scheme, const float* weights, int64_t rows, double* losses) const;
  absl::Status AddBlocks(const Scheme& scheme, const float* weights, int64_t rows,
                         double* losses) const;
  absl::StatusOr<double> GramForm(const float* errors, int64_t rows) const;
  absl::Status AddGram(const Scheme& scheme, const float* weights, int64_t rows,
                       double* losses) const;

  const InputStatistics& statistics_;
  const AwqSearchSettings& settings_;
  std::span<const AwqCandidate> candidates_;
  const MethodContext& context_;
  int64_t columns_, segment_;
  std::vector<std::vector<float>> inverses_;    // 1 / s, [candidates][K]
  std::vector<std::vector<float>> importance_;  // h / s^2
};

// The group that AutoAWQ's asymmetric primitive makes of these weights: scale = max(max - min,
// 1e-5) / (2^b - 1), zero = round(-min / scale) clamped to the codes, 0 not forced into the range;
// symmetric: max(absmax, 1e-5) / (2^(b-1) - 1). The zero is signed, as everywhere here; the scale
// is rounded to scheme.scale_dtype.
struct AwqGroup {
  float scale = 1;
  int8_t zero = 0;
};
AwqGroup AwqReferenceGroup(const float* weights, int64_t count, const Scheme& scheme);
// Rounds so, by division as AutoAWQ does: a range cut on both sides has its ends between two codes.
// `errors` gets every e = step * scale - w; it may be `weights`.
void AwqReferenceErrors(const float* weights, int64_t count, const Scheme& scheme,
                        const QuantizeKernels& kernels, float* errors);

}  // namespace quantd
