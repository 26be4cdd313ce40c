// The choice of scales: losses are those of the outputs, the choice is the least, and it helps.

#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"
#include "engine/method/awq_loss.h"
#include "engine/method/awq_search.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/awq_request.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

// Weights alike, inputs of which a few channels are much louder.
AwqLinear LoudLinear(int64_t outputs, int64_t columns) {
  AwqLinear linear(outputs, columns);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < outputs * columns; ++i) linear.weights.push_back(0.02F * normal(random));
  std::vector<float> x;
  for (int token = 0; token < 200; ++token) {
    const float common = normal(random);
    for (int64_t k = 0; k < columns; ++k) {
      x.push_back((k % 24 == 5 ? 30.0F : 1.0F) * (normal(random) + 0.5F * common));
    }
  }
  linear.AddInputs(x);
  return linear;
}

Scheme AwqScheme(const LinearSpec& spec, int bits, const Options& options = {}) {
  SchemeRequest request;
  request.bits = bits;
  request.group_size = 32;
  request.scale_rule = ScaleRule::kWeightedMse;  // by which the search rounds
  request.options = options;
  const auto scheme = FindMethod("awq")->resolve(request, spec, DType::kF32);
  EXPECT_TRUE(scheme.ok()) << scheme.status();
  return *scheme;
}

// The mean squared error of the outputs on the inputs that were seen, with the weights scaled,
// rounded, and scaled back.
double OutputError(const AwqLinear& linear, const Scheme& scheme,
                   const std::vector<float>& scales) {
  const size_t width = static_cast<size_t>(linear.spec.in_features);
  std::vector<float> scaled = linear.weights;
  for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= scales[i % width];
  InputStatistics divided = linear.statistics.Copy("").value();
  divided.DivideBy(scales);
  const Method& method = *FindMethod(scheme.method);
  const auto prepared = *method.prepare(scheme, &divided, TestContext());
  QuantizedRows rows;
  EXPECT_TRUE(
      method
          .quantize({scaled.data(), DType::kF32, linear.spec.out_features, linear.spec.in_features},
                    scheme, prepared.get(), TestContext(), &rows)
          .ok());
  double error = 0;
  std::vector<float> row(width);
  for (int64_t n = 0; n < rows.rows; ++n) {
    rows.Dequantize(n, row.data());
    for (size_t k = 0; k < width; ++k) {
      row[k] = row[k] / scales[k] - linear.weights[static_cast<size_t>(n) * width + k];
    }
    for (size_t at = 0; at < linear.inputs.size(); at += width) {
      double y = 0;
      for (size_t k = 0; k < width; ++k) {
        y += static_cast<double>(row[k]) * static_cast<double>(linear.inputs[at + k]);
      }
      error += y * y;
    }
  }
  return error;
}

TEST(Awq, ScalesLowerTheErrorOfTheOutputs) {
  const AwqLinear linear = LoudLinear(96, 128);
  for (const int bits : {2, 3, 4}) {
    for (const char* loss : {"diagonal", "blocks", "gram"}) {
      const Scheme scheme = AwqScheme(linear.spec, bits, With("loss", std::string(loss)));
      const auto choice = FindMethod("awq")->transform(linear.Request(scheme), TestContext());
      ASSERT_TRUE(choice.ok()) << choice.status();
      ASSERT_EQ(choice->scales.size(), 128U);
      const double plain = OutputError(linear, scheme, std::vector<float>(128, 1.0F));
      EXPECT_LT(OutputError(linear, scheme, choice->scales), 0.9 * plain) << bits << " " << loss;
    }
  }
}

TEST(Awq, LossOfTheWholeGramIsTheErrorOfTheOutputs) {
  const AwqLinear linear = LoudLinear(64, 64);
  Options options = With("loss", std::string("gram"));
  options.Set("grid", int64_t{4});
  SchemeRequest request;
  request.bits = 4;
  request.group_size = 32;
  request.scale_rule = ScaleRule::kAbsmax;  // as the search rounds
  request.options = options;
  const Scheme scheme = *FindMethod("awq")->resolve(request, linear.spec, DType::kF32);
  const TransformRequest fold = linear.Request(scheme);
  const AwqSearchSettings settings = AwqSearchSettingsOf(scheme);
  const std::vector<double> means = *AwqWeightMeans(fold, TestContext());
  const std::vector<AwqCandidate> candidates = AwqCandidates(fold, settings, means);
  const MethodContext context = TestContext();
  const AwqLossMeter meter(fold, settings, candidates, context);
  std::vector<double> losses(meter.sums());
  ASSERT_TRUE(meter.Add(scheme, linear.weights.data(), 64, losses.data()).ok());
  for (size_t c = 0; c < candidates.size(); ++c) {
    EXPECT_NEAR(losses[c] / OutputError(linear, scheme, candidates[c].scales), 1, 2e-3)
        << candidates[c].alpha << " " << candidates[c].beta;
  }
}

// With inputs that have nothing to do with each other all three losses are the same sum, but for
// its unit.
TEST(Awq, LossesAgreeWhereInputsAreIndependent) {
  AwqLinear linear = LoudLinear(64, 64);
  Gram& gram = linear.statistics.gram;
  for (int64_t i = 0; i < 64; ++i) {
    for (int64_t j = 0; j < i; ++j) gram.Set(i, j, 0);
  }
  std::vector<std::vector<double>> losses;
  for (const char* loss : {"diagonal", "blocks", "gram"}) {
    Options options = With("loss", std::string(loss));
    options.Set("duo", false);
    const Scheme scheme = AwqScheme(linear.spec, 3, options);
    const TransformRequest fold = linear.Request(scheme);
    // The segments of all three as the whole Gram matrix has them.
    AwqSearchSettings settings = AwqSearchSettingsOf(scheme);
    AwqSearchSettings whole = settings;
    whole.loss = AwqLoss::kGram;
    const std::vector<AwqCandidate> candidates = AwqCandidates(fold, whole, {});
    const MethodContext context = TestContext();
    const AwqLossMeter meter(fold, settings, candidates, context);
    std::vector<double> sums(meter.sums()), total(candidates.size());
    ASSERT_TRUE(meter.Add(scheme, linear.weights.data(), 64, sums.data()).ok());
    for (size_t i = 0; i < sums.size(); ++i) total[i % total.size()] += sums[i];
    losses.push_back(total);
  }
  for (size_t c = 0; c < losses[0].size(); ++c) {
    EXPECT_NEAR(losses[1][c] / losses[2][c], 1, 1e-4);
    EXPECT_NEAR(losses[0][c] * 200 / losses[2][c], 1, 1e-4);
  }
}

TEST(Awq, ChannelsAlikeAreLeftAlone) {
  AwqLinear linear(64, 64);
  std::mt19937 random(4);
  std::uniform_int_distribution<int> code(-7, 7);
  // Weights that the range of their group represents: any scaling would cost something.
  for (int i = 0; i < 64 * 64; ++i) {
    const int at = i % 32;
    const int value = at == 0 ? -8 : at == 1 ? 7 : code(random);
    linear.weights.push_back(0.0625F * static_cast<float>(value));
  }
  std::vector<float> x(64 * 64);
  for (float& value : x) value = std::normal_distribution<float>()(random);
  linear.AddInputs(x);
  SchemeRequest request;
  request.group_size = 32;
  const Scheme scheme = *FindMethod("awq")->resolve(request, linear.spec, DType::kF32);
  const auto choice = FindMethod("awq")->transform(linear.Request(scheme), TestContext());
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_TRUE(choice->scales.empty());
}

TEST(Awq, SameScalesForAnyNumberOfThreads) {
  const AwqLinear linear = LoudLinear(200, 128);
  const Scheme scheme = AwqScheme(linear.spec, 4);
  const TransformRequest request = linear.Request(scheme);
  ThreadPool one(1), three(3);
  const auto a = ChooseAwqScales(request, {one, **FindBackend("cpu"), CpuKernels()});
  const auto b = ChooseAwqScales(request, {three, **FindBackend("cpu"), CpuKernels()});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->scales, b->scales);
  EXPECT_EQ(a->figures, b->figures);
}

TEST(Awq, SameScalesOnEveryInstructionSet) {
  const AwqLinear linear = LoudLinear(100, 64);
  const Scheme scheme = AwqScheme(linear.spec, 3);
  const auto wanted = ChooseAwqScales(linear.Request(scheme), TestContext(*AllCpuKernels()[0]));
  ASSERT_TRUE(wanted.ok());
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    const auto got = ChooseAwqScales(linear.Request(scheme), TestContext(*kernels));
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got->scales, wanted->scales) << kernels->isa;
    EXPECT_EQ(got->figures, wanted->figures) << kernels->isa;
  }
}

TEST(Awq, ChannelsOfOneRowShareAScale) {
  const AwqLinear linear = LoudLinear(64, 64);
  const Scheme scheme = AwqScheme(linear.spec, 4);
  TransformRequest request = linear.Request(scheme);
  std::vector<int32_t> shared;
  for (int32_t k = 0; k < 64; ++k) shared.push_back(k / 32 * 16 + k % 16);
  request.shared = shared;
  const auto choice = ChooseAwqScales(request, TestContext());
  ASSERT_TRUE(choice.ok());
  ASSERT_EQ(choice->scales.size(), 64U);
  for (size_t k = 0; k < 16; ++k) {
    EXPECT_EQ(choice->scales[k], choice->scales[k + 16]);
    EXPECT_EQ(choice->scales[k + 32], choice->scales[k + 48]);
  }
}

// A few weights of every group are far out, in channels that are hardly ever on: cutting them off
// leaves finer steps for the others.
TEST(Awq, ClipLowersTheErrorOfTheOutputs) {
  AwqLinear linear = LoudLinear(64, 64);
  for (size_t i = 9; i < linear.weights.size(); i += 32) linear.weights[i] *= 4;
  SchemeRequest request;
  request.bits = 3;
  request.group_size = 32;
  request.scale_rule = ScaleRule::kAbsmax;
  const Method& awq = *FindMethod("awq");
  const Scheme plain = *awq.resolve(request, linear.spec, DType::kF32);
  request.options.Set("clip", true);
  const Scheme clipped = *awq.resolve(request, linear.spec, DType::kF32);
  EXPECT_EQ(awq.needs(clipped).gram_block, 32);
  const std::vector<float> ones(64, 1.0F);
  EXPECT_LT(OutputError(linear, clipped, ones), 0.8 * OutputError(linear, plain, ones));
}

TEST(Awq, QueriesAndKeysAreNotClipped) {
  LinearSpec spec;
  spec.role = LinearRole::kK;
  spec.out_features = spec.in_features = 64;
  const Scheme scheme = AwqScheme(spec, 4, With("clip", true));
  EXPECT_FALSE(scheme.options.Flag("clip"));
  spec.role = LinearRole::kV;
  EXPECT_TRUE(AwqScheme(spec, 4, With("clip", true)).options.Flag("clip"));
}

TEST(Awq, TheReferenceSetsWhatTheRequestLeavesOpen) {
  LinearSpec spec;
  spec.role = LinearRole::kDown;
  spec.out_features = spec.in_features = 64;
  Options options = With("reference", true);
  options.Set("clip", false);
  const Scheme scheme = AwqScheme(spec, 4, options);
  EXPECT_EQ(scheme.options.Integer("grid"), 20);
  EXPECT_EQ(scheme.options.Text("loss"), "gram");
  EXPECT_TRUE(scheme.options.Flag("duo"));
  EXPECT_FALSE(scheme.options.Flag("clip"));
  EXPECT_EQ(scheme.scale_rule, ScaleRule::kAbsmax);
  EXPECT_EQ(FindMethod("awq")->needs(scheme).gram_block, kWholeGram);
}

TEST(Awq, RefusesTensorsActivationsAndOptionsOutOfRange) {
  LinearSpec spec;
  spec.name = "o_proj";
  spec.out_features = spec.in_features = 64;
  SchemeRequest request;
  request.granularity = Granularity::kTensor;
  request.activations = ActivationScheme::kDynamicToken;
  request.options.Set("grid", int64_t{0});
  request.options.Set("loss", std::string("module"));
  const auto scheme = FindMethod("awq")->resolve(request, spec, DType::kF32);
  EXPECT_GE(ViolationsOf(scheme.status()).size(), 4U);
}

}  // namespace
}  // namespace quantd
