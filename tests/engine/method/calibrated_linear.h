// A linear of drawn weights, and the statistics of drawn inputs that are correlated and of unlike
// size, as activations are.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "engine/calibrate/statistics.h"
#include "engine/method/registry.h"
#include "engine/tensor/tensor.h"
#include "engine/types/model_spec.h"
#include "engine/types/scheme.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"

namespace quantd {

struct CalibratedLinear {
  LinearSpec spec;
  std::vector<float> weights;  // [N, K]
  InputStatistics statistics;  // moments and the whole Gram matrix

  // `silent`: a channel that is always zero, or -1.
  CalibratedLinear(int64_t outputs, int64_t inputs, int64_t tokens, int64_t silent = -1)
      : weights(static_cast<size_t>(outputs * inputs)), statistics(inputs) {
    spec.name = "linear";
    spec.out_features = outputs;
    spec.in_features = inputs;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (float& weight : weights) weight = 0.05f * normal(random);
    statistics.gram = Gram::Make(inputs, inputs, "").value();
    std::vector<float> x(static_cast<size_t>(inputs)), loudness(x.size());
    std::vector<float> products(x.size() * x.size());
    for (float& value : loudness) value = std::exp(0.7f * normal(random));
    for (int64_t token = 0; token < tokens; ++token) {
      const float common = normal(random);
      float before = normal(random);
      for (size_t k = 0; k < x.size(); ++k) {
        before = 0.7f * before + 0.7f * normal(random);  // neighbours are alike
        x[k] = static_cast<int64_t>(k) == silent ? 0 : loudness[k] * (before + 0.3f * common);
      }
      statistics.Add(x.data(), 1);
      for (size_t i = 0; i < x.size(); ++i) {
        for (size_t j = 0; j < x.size(); ++j) products[i * x.size() + j] += x[i] * x[j];
      }
    }
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        statistics.gram.Set(i, j, products[static_cast<size_t>(i * inputs + j)]);
      }
    }
  }

  WeightRows Rows() const {
    return {weights.data(), DType::kF32, spec.out_features, spec.in_features};
  }
  double MeanProduct(size_t i, size_t j) const {
    return static_cast<double>(
               statistics.gram.At(static_cast<int64_t>(i), static_cast<int64_t>(j))) /
           static_cast<double>(statistics.tokens);
  }
  double MeanSquare(size_t i) const { return MeanProduct(i, i); }

  // Mean over tokens of the squared error of the output, all rows together.
  double OutputError(const QuantizedRows& rows) const {
    const size_t columns = static_cast<size_t>(spec.in_features);
    std::vector<float> rounded(columns);
    double error = 0;
    for (int64_t n = 0; n < rows.rows; ++n) {
      rows.Dequantize(n, rounded.data());
      const float* row = weights.data() + n * spec.in_features;
      for (size_t i = 0; i < columns; ++i) {
        double product = 0;
        for (size_t j = 0; j < columns; ++j) {
          product += MeanProduct(i, j) * static_cast<double>(row[j] - rounded[j]);
        }
        error += product * static_cast<double>(row[i] - rounded[i]);
      }
    }
    return error;
  }
};

// The rows that a method makes of a linear.
inline QuantizedRows Quantized(const Method& method, const CalibratedLinear& linear,
                               const Scheme& scheme, const MethodContext& context = TestContext()) {
  QuantizedRows out;
  const auto prepared = method.prepare(scheme, &linear.statistics, context);
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  const absl::Status status =
      method.quantize(linear.Rows(), scheme, prepared->get(), context, &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

}  // namespace quantd
