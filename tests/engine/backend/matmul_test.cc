// Matrix products of every backend against sums in f64 and exact integers.
#include <bit>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/kernels.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/every_backend.h"
#include "tests/engine/backend/random_values.h"

namespace quantd {
namespace {

struct Size {
  int64_t tokens, n, k;
};
constexpr Size kSizes[] = {{1, 1, 1},     {1, 64, 64},    {2, 3, 5},     {7, 33, 17},
                           {16, 16, 16},  {17, 100, 65},  {64, 48, 96},  {5, 172, 64},
                           {128, 65, 31}, {33, 256, 640}, {512, 64, 128}};

class MatMulTest : public EveryBackend {};
QD_EVERY_BACKEND(MatMulTest);

float Bf16(float value) {
  uint16_t bits = 0;
  NarrowFromF32(&value, 1, DType::kBF16, &bits);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Whether the backend multiplies bf16 at all.
bool HasBf16(Backend& backend) {
  const float one = 1;
  return backend.Prepare({&one, DType::kF32, 1, 1}, ComputeType::kBF16).ok();
}

// |y - wanted| <= tolerance * sum |x w|, wanted = x w^T + bias in f64.
void ExpectProduct(const std::vector<float>& x, const std::vector<float>& w,
                   const std::vector<float>& bias, const std::vector<float>& y, const Size& size,
                   double tolerance) {
  for (int64_t t = 0; t < size.tokens; ++t) {
    for (int64_t n = 0; n < size.n; ++n) {
      double sum = bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<size_t>(n)]);
      double magnitude = std::abs(sum);
      for (int64_t k = 0; k < size.k; ++k) {
        const double product = static_cast<double>(x[static_cast<size_t>(t * size.k + k)]) *
                               static_cast<double>(w[static_cast<size_t>(n * size.k + k)]);
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(y[static_cast<size_t>(t * size.n + n)], sum, tolerance * magnitude + 1e-30)
          << t << "," << n << " of " << size.tokens << "x" << size.n << "x" << size.k;
    }
  }
}

void CheckDense(Backend& backend, ComputeType compute, DType stored, bool with_bias) {
  for (const Size& size : kSizes) {
    Random random(static_cast<uint64_t>(size.n));
    std::vector<float> x = random.Floats(size.tokens * size.k, 3.0F),
                       w = random.Floats(size.n * size.k);
    const std::vector<float> bias = with_bias ? random.Floats(size.n, 5.0F) : std::vector<float>();
    std::vector<uint16_t> narrow(w.size());
    const void* data = w.data();
    if (stored != DType::kF32) {
      NarrowFromF32(w.data(), size.n * size.k, stored, narrow.data());
      WidenToF32(narrow.data(), stored, size.n * size.k, w.data());
      data = narrow.data();
    }
    const auto prepared = backend.Prepare({data, stored, size.n, size.k}, compute);
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    EXPECT_EQ((*prepared)->out_features(), size.n);
    EXPECT_EQ((*prepared)->in_features(), size.k);
    std::vector<float> y(static_cast<size_t>(size.tokens * size.n), 1e30F);
    ASSERT_TRUE(
        backend
            .MatMul(x.data(), size.tokens, **prepared, with_bias ? bias.data() : nullptr, y.data())
            .ok());
    if (compute ==
        ComputeType::kBF16) {  // products of rounded factors are exact: only the sums differ
      for (float& value : x) value = Bf16(value);
      for (float& value : w) value = Bf16(value);
    }
    ExpectProduct(x, w, bias, y, size, 2e-6);
  }
}

TEST_P(MatMulTest, DenseF32) {
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16})
    CheckDense(backend(), ComputeType::kF32, stored, false);
}

TEST_P(MatMulTest, DenseF32WithBias) {
  CheckDense(backend(), ComputeType::kF32, DType::kF32, true);
}

TEST_P(MatMulTest, DenseBf16) {
  if (!HasBf16(backend())) GTEST_SKIP() << GetParam() << " does not multiply bf16 here";
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16})
    CheckDense(backend(), ComputeType::kBF16, stored, false);
}

TEST_P(MatMulTest, DenseBf16WithBias) {
  if (!HasBf16(backend())) GTEST_SKIP() << GetParam() << " does not multiply bf16 here";
  CheckDense(backend(), ComputeType::kBF16, DType::kBF16, true);
}

TEST_P(MatMulTest, NoTokensIsNoWork) {
  const float w = 1;
  const auto prepared = backend().Prepare({&w, DType::kF32, 1, 1}, ComputeType::kF32);
  ASSERT_TRUE(prepared.ok());
  EXPECT_TRUE(backend().MatMul(nullptr, 0, **prepared, nullptr, nullptr).ok());
}

struct QuantizedCase {
  int bits;
  int64_t groups;
  bool symmetric;
};

QuantizedRows RandomRows(Random& random, int64_t n, int64_t k, const QuantizedCase& quantized) {
  QuantizedRows rows = EmptyRows(n, k, quantized.groups);
  const int low = -(1 << (quantized.bits - 1)), high = -low - 1;
  rows.codes = random.Codes(n * k, low, high);
  rows.scales = random.Floats(n * quantized.groups, 0.1F);  // both signs
  if (!quantized.symmetric) rows.zeros = random.Codes(n * quantized.groups, low, high);
  return rows;
}

std::vector<float> Dequantized(const QuantizedRows& rows) {
  std::vector<float> w;
  const int64_t width = rows.columns / rows.groups;
  for (int64_t i = 0; i < rows.rows * rows.columns; ++i) {
    const auto group = static_cast<size_t>(i / width);
    const int zero = rows.zeros.empty() ? 0 : rows.zeros[group];
    w.push_back(static_cast<float>(rows.codes[static_cast<size_t>(i)] - zero) * rows.scales[group]);
  }
  return w;
}

constexpr QuantizedCase kQuantized[] = {
    {8, 1, true}, {4, 1, true}, {4, 4, true}, {4, 4, false}, {8, 2, false}};

TEST_P(MatMulTest, WeightOnlyMultipliesTheDequantizedWeight) {
  for (const QuantizedCase& quantized : kQuantized) {
    Random random(11);
    const Size size{9, 40, 128};
    const QuantizedRows rows = RandomRows(random, size.n, size.k, quantized);
    const std::vector<float> x = random.Floats(size.tokens * size.k), bias = random.Floats(size.n);
    const auto prepared = backend().PrepareQuantized(rows, Scheme{}, ComputeType::kF32);
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    std::vector<float> y(static_cast<size_t>(size.tokens * size.n));
    ASSERT_TRUE(backend().MatMul(x.data(), size.tokens, **prepared, bias.data(), y.data()).ok());
    ExpectProduct(x, Dequantized(rows), bias, y, size, 2e-6);
  }
}

// What a server computes: tokens to int8, exact integer sums, then the scales.
void CheckDynamic(Backend& backend, const Size& size, const QuantizedCase& quantized,
                  const std::vector<float>& x, const QuantizedRows& rows,
                  const std::vector<float>& bias) {
  const Scheme scheme = DynamicTokenScheme();
  const auto prepared = backend.PrepareQuantized(rows, scheme, ComputeType::kF32);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  std::vector<float> y(static_cast<size_t>(size.tokens * size.n));
  ASSERT_TRUE(
      backend
          .MatMul(x.data(), size.tokens, **prepared, bias.empty() ? nullptr : bias.data(), y.data())
          .ok());
  const int64_t width = size.k / quantized.groups;
  for (int64_t t = 0; t < size.tokens; ++t) {
    std::vector<int8_t> codes(static_cast<size_t>(size.k));
    float scale = 0;
    CpuKernels().quantize_token(x.data() + t * size.k, size.k, codes.data(), &scale);
    for (int64_t n = 0; n < size.n; ++n) {
      float wanted = bias.empty() ? 0.0F : bias[static_cast<size_t>(n)];
      for (int64_t group = 0; group < quantized.groups; ++group) {
        const auto cell = static_cast<size_t>(n * quantized.groups + group);
        int64_t sum = 0;
        for (int64_t k = group * width; k < (group + 1) * width; ++k) {
          const int zero = rows.zeros.empty() ? 0 : rows.zeros[cell];
          sum += codes[static_cast<size_t>(k)] *
                 (rows.codes[static_cast<size_t>(n * size.k + k)] - zero);
        }
        const float term = static_cast<float>(sum) * (scale * rows.scales[cell]);
        wanted += term;
      }
      // Equal to the last bit: integers are exact, and the scales are applied in one order.
      ASSERT_EQ(y[static_cast<size_t>(t * size.n + n)], wanted) << t << "," << n << " k " << size.k;
    }
  }
}

TEST_P(MatMulTest, DynamicTokensAreExactIntegers) {
  for (const QuantizedCase& quantized : kQuantized) {
    for (const Size& size :
         {Size{1, 8, 64}, Size{9, 40, 128}, Size{33, 100, 2560}, Size{64, 64, 4096}}) {
      Random random(12);
      const QuantizedRows rows = RandomRows(random, size.n, size.k, quantized);
      const std::vector<float> bias =
          size.tokens % 2 == 0 ? random.Floats(size.n) : std::vector<float>();
      CheckDynamic(backend(), size, quantized, random.Floats(size.tokens * size.k, 8.0F), rows,
                   bias);
    }
  }
}

// Every product at its largest and of one sign: sums of pairs in 16 bits would saturate, f32 sums
// over the whole row would round.
TEST_P(MatMulTest, DynamicTokensAreExactAtTheExtremes) {
  const Size size{4, 48, 4096};
  for (const int code : {-128, -127, 127}) {
    QuantizedRows rows = EmptyRows(size.n, size.k, 1);
    rows.codes.assign(static_cast<size_t>(size.n * size.k), static_cast<int8_t>(code));
    rows.codes[5] = 1;
    rows.scales.assign(static_cast<size_t>(size.n), 1.0F);
    for (const float sign : {-1.0F, 1.0F}) {
      std::vector<float> x(static_cast<size_t>(size.tokens * size.k), 3.5F * sign);
      x[1] = 0.11F;
      CheckDynamic(backend(), size, {8, 1, true}, x, rows, {});
    }
  }
}

TEST_P(MatMulTest, SameBitsFromTwoThreadsAtOnce) {
  const Size size{65, 256, 300};
  Random random(13);
  const std::vector<float> w = random.Floats(size.n * size.k),
                           x = random.Floats(size.tokens * size.k);
  const auto prepared =
      backend().Prepare({w.data(), DType::kF32, size.n, size.k}, ComputeType::kF32);
  ASSERT_TRUE(prepared.ok());
  std::vector<std::vector<float>> y(3,
                                    std::vector<float>(static_cast<size_t>(size.tokens * size.n)));
  const auto run = [&](size_t i) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      ASSERT_TRUE(backend().MatMul(x.data(), size.tokens, **prepared, nullptr, y[i].data()).ok());
    }
  };
  run(0);
  std::thread first(run, 1), second(run, 2);
  first.join();
  second.join();
  EXPECT_EQ(y[0], y[1]);
  EXPECT_EQ(y[0], y[2]);
}

TEST_P(MatMulTest, PrecisionThatIsAskedForIsKept) {
  EXPECT_EQ(backend().Resolve(ComputeType::kBF16, DType::kF32), ComputeType::kBF16);
  EXPECT_EQ(backend().Resolve(ComputeType::kF32, DType::kBF16), ComputeType::kF32);
  EXPECT_EQ(backend().Resolve(ComputeType::kAuto, DType::kF32), ComputeType::kF32);
  EXPECT_EQ(backend().Resolve(ComputeType::kAuto, DType::kF16), ComputeType::kF32);
  EXPECT_NE(backend().Resolve(ComputeType::kAuto, DType::kBF16), ComputeType::kAuto);
}

TEST_P(MatMulTest, ABackendIsFoundByTheNameItTells) { EXPECT_EQ(backend().name(), GetParam()); }

TEST(BackendTest, AnyIsTheBestAndUnknownNamesAreRefused) {
  EXPECT_EQ((*FindBackend("any"))->name(), "cpu");
  EXPECT_EQ((*FindBackend("cpu"))->name(), "cpu");
  EXPECT_EQ(FindBackend("cuda").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(FindBackend("tpu").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AvailableBackends(), std::vector<std::string_view>{"cpu"});
}

}  // namespace
}  // namespace quantd
