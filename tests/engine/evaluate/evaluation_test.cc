#include "engine/evaluate/evaluation.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "gtest/gtest.h"
#include "tests/engine/model/whole_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

constexpr ComputeType kF32 = ComputeType::kF32;

// models/books-3m, with the numbers that transformers computes for it.
class EvaluationTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = SourcePath("tests/golden/perplexity.json");
    golden_ = *ParseJson(*ReadFile(path, 1 << 24), path);
    ids_ = golden_.at("ids").get<std::vector<std::vector<int32_t>>>();
    auto model = WholeModel::Open(SourcePath("models/books-3m"));
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto head = Head::Load(model_->spec(), model_->checkpoint(), backend_, kF32);
    ASSERT_TRUE(head.ok()) << head.status();
    head_ = *head;
  }

  std::vector<float> Stream(size_t window) const {
    const auto x = model_->Activations(ids_[window], kF32);
    EXPECT_TRUE(x.ok()) << x.status();
    return *x;
  }
  std::vector<float> Scaled(std::vector<float> x) const {
    const auto width = static_cast<size_t>(model_->spec().hidden);
    for (size_t i = 0; i < x.size(); ++i) {
      const double scale = 1 + 0.1 * std::sin(static_cast<double>(i % width));
      x[i] = static_cast<float>(static_cast<double>(x[i]) * scale);
    }
    return x;
  }
  absl::Status Record(Evaluation& evaluation, size_t window,
                      const std::vector<float>& quantized) const {
    const std::vector<float> original = Stream(window);
    return evaluation.Record(static_cast<int64_t>(window), ids_[window], original.data(),
                             quantized.data(), head_, head_, backend_, model_->spec().vocabulary);
  }
  double Wanted(const char* key) const { return golden_.at(key).get<double>(); }

  Backend& backend_ = **FindBackend("cpu");
  Json golden_;
  std::vector<std::vector<int32_t>> ids_;
  std::unique_ptr<WholeModel> model_;
  Head head_;
};

TEST_F(EvaluationTest, EqualsTransformers) {
  Evaluation evaluation(static_cast<int64_t>(ids_.size()));
  for (size_t i = 0; i < ids_.size(); ++i) {
    const absl::Status status = Record(evaluation, i, Scaled(Stream(i)));
    ASSERT_TRUE(status.ok()) << status;
  }
  const EvaluationResult result = evaluation.Finish();
  EXPECT_EQ(result.tokens, static_cast<int64_t>(ids_.size() * (ids_[0].size() - 1)));
  EXPECT_NEAR(result.perplexity_original / Wanted("perplexity_original"), 1, 1e-5);
  EXPECT_NEAR(result.perplexity_quantized / Wanted("perplexity_quantized"), 1, 1e-5);
  EXPECT_NEAR(result.kl_mean / Wanted("kl_mean"), 1, 1e-3);
  EXPECT_NEAR(result.kl_p99 / Wanted("kl_p99"), 1, 1e-3);
  EXPECT_NEAR(result.top1_agreement, Wanted("top1_agreement"),
              1.5 / static_cast<double>(result.tokens));
  EXPECT_GT(result.kl_mean, 1e-4);  // the streams do differ
  const std::vector<int64_t>& counts = result.kl_histogram.counts;
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), result.tokens);
}

TEST_F(EvaluationTest, IdenticalStreamsDoNotDiffer) {
  Evaluation evaluation(1);
  ASSERT_TRUE(Record(evaluation, 0, Stream(0)).ok());
  const EvaluationResult result = evaluation.Finish();
  EXPECT_EQ(result.kl_mean, 0.0);
  EXPECT_EQ(result.kl_p99, 0.0);
  EXPECT_EQ(result.top1_agreement, 1.0);
  EXPECT_EQ(result.perplexity_original, result.perplexity_quantized);
  EXPECT_EQ(result.kl_histogram.counts[0], result.tokens);
}

TEST(DivergenceHistogram, BinsByTheLogarithmAndLosesNothing) {
  DivergenceHistogram histogram;
  for (const double small : {0.0, -1e-9, 1e-9, 1.2e-7}) histogram.Add(small);
  for (const double large : {9.5, 1e9, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
    histogram.Add(large);
  }
  histogram.Add(0.0011);
  ASSERT_EQ(histogram.counts.size(), 40U);
  EXPECT_EQ(histogram.counts.front(), 4);
  EXPECT_EQ(histogram.counts.back(), 4);
  EXPECT_EQ(histogram.counts[20], 1);  // five bins a decade from 1e-7
  EXPECT_NEAR(histogram.Edge(20), 1e-3, 1e-12);
  EXPECT_NEAR(histogram.Edge(40), 10, 1e-9);
  Report report;
  report.evaluation = EvaluationResult{.tokens = 9, .kl_histogram = histogram};
  const auto read = ReportFromJson(*ParseJson(DumpJson(ToJson(report)), "report"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->evaluation->kl_histogram == histogram);
}

TEST_F(EvaluationTest, ThreadsAndOrderDoNotMatter) {
  Evaluation forwards(4), threaded(4);
  for (size_t i = 0; i < 4; ++i) ASSERT_TRUE(Record(forwards, i, Scaled(Stream(i))).ok());
  std::atomic<int> next = 3;
  const auto work = [&] {
    for (int i = next--; i >= 0; i = next--) {
      const auto window = static_cast<size_t>(i);
      EXPECT_TRUE(Record(threaded, window, Scaled(Stream(window))).ok());
    }
  };
  std::thread first(work), second(work);
  first.join();
  second.join();
  const EvaluationResult one = forwards.Finish(), two = threaded.Finish();
  EXPECT_EQ(one.perplexity_original, two.perplexity_original);
  EXPECT_EQ(one.perplexity_quantized, two.perplexity_quantized);
  EXPECT_EQ(one.kl_mean, two.kl_mean);
  EXPECT_EQ(one.kl_p99, two.kl_p99);
}

TEST_F(EvaluationTest, NothingToScore) {
  Evaluation evaluation(2);
  const std::vector<float> x(static_cast<size_t>(model_->spec().hidden), 1.0F);
  const std::vector<int32_t> one = {5};
  const int64_t vocabulary = model_->spec().vocabulary;
  EXPECT_TRUE(evaluation.Record(0, {}, nullptr, nullptr, head_, head_, backend_, vocabulary).ok());
  EXPECT_TRUE(
      evaluation.Record(1, one, x.data(), x.data(), head_, head_, backend_, vocabulary).ok());
  EXPECT_EQ(evaluation.Finish().tokens, 0);
}

TEST_F(EvaluationTest, IdsOutsideTheVocabularyAreRefused) {
  Evaluation evaluation(1);
  const std::vector<float> x = Stream(0);
  for (const int32_t id : {-1, 2048}) {
    const std::vector<int32_t> ids = {1, id, 2};
    const absl::Status status =
        evaluation.Record(0, ids, x.data(), x.data(), head_, head_, backend_, 2048);
    EXPECT_EQ(ReasonOf(status), Reason::kDatasetInvalid) << id;
  }
}

}  // namespace
}  // namespace quantd
