// Products with inputs quantized by one scale for all tokens: exact integers, then the scales.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "engine/backend/backend.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/every_backend.h"
#include "tests/engine/backend/random_values.h"

namespace quantd {
namespace {

class StaticMatMulTest : public EveryBackend {};
QD_EVERY_BACKEND(StaticMatMulTest);

int CodeOf(float x, const StaticInput& input) {
  const float code = std::nearbyint(x / input.scale) + static_cast<float>(input.zero);
  return static_cast<int>(std::clamp(code, -128.0F, 127.0F));
}

void CheckStatic(Backend& backend, const QuantizedRows& rows, const std::vector<float>& x,
                 const std::vector<float>& bias) {
  Scheme scheme;
  scheme.activations = ActivationScheme::kStatic;
  const auto prepared = backend.PrepareQuantized(rows, scheme, ComputeType::kF32);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const int64_t tokens = static_cast<int64_t>(x.size()) / rows.columns;
  std::vector<float> y(static_cast<size_t>(tokens * rows.rows));
  const float* added = bias.empty() ? nullptr : bias.data();
  ASSERT_TRUE(backend.MatMul(x.data(), tokens, **prepared, added, y.data()).ok());
  const int64_t width = rows.columns / rows.groups;
  const StaticInput& input = *rows.input;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t n = 0; n < rows.rows; ++n) {
      float wanted = bias.empty() ? 0.0F : bias[static_cast<size_t>(n)];
      for (int64_t group = 0; group < rows.groups; ++group) {
        const auto cell = static_cast<size_t>(n * rows.groups + group);
        const int zero = rows.zeros.empty() ? 0 : rows.zeros[cell];
        int64_t sum = 0;
        for (int64_t k = group * width; k < (group + 1) * width; ++k) {
          sum += (CodeOf(x[static_cast<size_t>(t * rows.columns + k)], input) - input.zero) *
                 (rows.codes[static_cast<size_t>(n * rows.columns + k)] - zero);
        }
        wanted += static_cast<float>(sum) * (input.scale * rows.scales[cell]);
      }
      ASSERT_EQ(y[static_cast<size_t>(t * rows.rows + n)], wanted)
          << t << "," << n << " zero " << input.zero << " k " << rows.columns;
    }
  }
}

TEST_P(StaticMatMulTest, IsExactIntegers) {
  Random random(21);
  for (const int zero : {0, 1, -37, -128, 127}) {
    for (const int64_t groups : {1, 4}) {
      for (const bool symmetric : {true, false}) {
        const int64_t n = 40, k = 2560;
        QuantizedRows rows = EmptyRows(n, k, groups);
        rows.codes = random.Codes(n * k, -128, 127);
        rows.scales = random.Floats(n * groups, 0.1F);
        if (!symmetric) rows.zeros = random.Codes(n * groups, -128, 127);
        rows.input = StaticInput{.scale = 0.031F, .zero = zero};
        // Some lie outside the codes.
        CheckStatic(backend(), rows, random.Floats(9 * k, 6.0F),
                    zero == 1 ? random.Floats(n) : std::vector<float>());
      }
    }
  }
}

// Every product at its largest and of one sign: sums of pairs in 16 bits would saturate, f32 sums
// over the whole row would round.
TEST_P(StaticMatMulTest, IsExactAtTheExtremes) {
  const int64_t n = 16, k = 4096;
  for (const int code : {-128, 127}) {
    QuantizedRows rows = EmptyRows(n, k, 1);
    rows.codes.assign(static_cast<size_t>(n * k), static_cast<int8_t>(code));
    rows.codes[5] = 1;
    rows.scales.assign(static_cast<size_t>(n), 1.0F);
    for (const int zero : {0, -128}) {
      rows.input = StaticInput{.scale = 0.5F, .zero = zero};
      for (const float value : {-1e6F, 1e6F}) {
        std::vector<float> x(static_cast<size_t>(2 * k), value);
        x[1] = 0.6F;
        CheckStatic(backend(), rows, x, {});
      }
    }
  }
}

}  // namespace
}  // namespace quantd
