// Logits of whole models against those of others: transformers on tiny models of every family and
// variant, and a float64 forward pass on a trained one.
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "gtest/gtest.h"
#include "tests/engine/model/whole_model.h"
#include "tests/paths.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

struct Golden {
  std::vector<int32_t> ids;
  std::vector<double> logits;  // [T, V]
};

Golden ReadGolden(const std::string& path) {
  const Json json = *ParseJson(*ReadFile(path, 1 << 24), path);
  Golden golden{.ids = json.at("ids").get<std::vector<int32_t>>(), .logits = {}};
  for (const Json& row : json.at("logits")) {
    for (const Json& logit : row) golden.logits.push_back(logit.get<double>());
  }
  return golden;
}

double LargestDifference(const std::vector<float>& got, const std::vector<double>& wanted) {
  EXPECT_EQ(got.size(), wanted.size());
  double largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - wanted[i]);
    if (!(difference <= largest)) largest = difference;  // NaN too
  }
  return largest;
}

class TinyModelTest : public testing::TestWithParam<std::string> {
 protected:
  std::string folder() const { return SourcePath("tests/golden/models/") + GetParam(); }
};

TEST_P(TinyModelTest, LogitsAreThoseOfTransformers) {
  const auto model = WholeModel::Open(folder());
  ASSERT_TRUE(model.ok()) << model.status();
  const Golden golden = ReadGolden(folder() + "/golden_logits.json");
  const auto logits = (*model)->Logits(golden.ids, ComputeType::kF32);
  ASSERT_TRUE(logits.ok()) << logits.status();
  const double difference = LargestDifference(*logits, golden.logits);
  RecordProperty("largest_difference", std::to_string(difference));
  EXPECT_LE(difference, 2e-4);
}

TEST_P(TinyModelTest, Bf16IsClose) {
  const auto model = WholeModel::Open(folder());
  ASSERT_TRUE(model.ok()) << model.status();
  const Golden golden = ReadGolden(folder() + "/golden_logits.json");
  const auto logits = (*model)->Logits(golden.ids, ComputeType::kBF16);
  if (absl::IsUnavailable(logits.status())) GTEST_SKIP() << "this machine does not multiply bf16";
  ASSERT_TRUE(logits.ok()) << logits.status();
  double squares = 0, energy = 0;
  for (size_t i = 0; i < golden.logits.size(); ++i) {
    const double difference = static_cast<double>((*logits)[i]) - golden.logits[i];
    squares += difference * difference;
    energy += golden.logits[i] * golden.logits[i];
  }
  EXPECT_LE(squares / energy,
            1e-3);  // bf16 keeps 8 bits: 2^-9 per rounding, some tens of roundings
}

std::vector<std::string> Variants() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SourcePath("tests/golden/models"))) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Variants, TinyModelTest, testing::ValuesIn(Variants()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

constexpr const char* kSavedAgain = "config.transformers5.json";

std::vector<std::string> VariantsSavedAgain() {
  std::vector<std::string> names = Variants();
  std::erase_if(names, [](const std::string& name) {
    return !std::filesystem::exists(SourcePath("tests/golden/models/") + name + "/" + kSavedAgain);
  });
  return names;
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// The same weights under the config that transformers 5 saves.
class SavedAgainTest : public TinyModelTest {};

TEST_P(SavedAgainTest, LogitsAreTheSame) {
  const std::string newer = folder() + "/" + kSavedAgain;
  const auto temporary = TemporaryFolder::Create("transformers5");
  ASSERT_TRUE(temporary.ok()) << temporary.status();
  std::filesystem::copy(newer, temporary->path() + "/config.json");
  std::filesystem::copy(folder() + "/model.safetensors", temporary->path() + "/model.safetensors");
  const auto model = WholeModel::Open(temporary->path());
  ASSERT_TRUE(model.ok()) << model.status();
  const Golden golden = ReadGolden(folder() + "/golden_logits.json");
  const auto logits = (*model)->Logits(golden.ids, ComputeType::kF32);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_LE(LargestDifference(*logits, golden.logits), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Variants, SavedAgainTest, testing::ValuesIn(VariantsSavedAgain()),
                         TestName);

TEST(TinyModelsTest, EveryFamilyHasOne) {
  for (const Family& family : Families()) {
    bool found = false;  // of this family or another that is read the same way
    for (const Family& other : Families()) {
      for (const std::string& name : Variants()) {
        found = found || (other.parse == family.parse && name.starts_with(other.name));
      }
    }
    EXPECT_TRUE(found) << family.name;
  }
}

TEST(Stories260KTest, LogitsAreThoseOfAFloat64Pass) {
  QD_SHARED_DATA_OR_SKIP(data);
  const std::string folder = data + "/models/stories260K";
  const auto model = WholeModel::Open(folder);
  ASSERT_TRUE(model.ok()) << model.status();
  const Golden golden = ReadGolden(folder + "/golden_logits_float64.json");
  const auto logits = (*model)->Logits(golden.ids, ComputeType::kF32);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_LE(LargestDifference(*logits, golden.logits), 2e-4);
}

TEST(ForwardTest, SameBitsWithOneAndTwoThreads) {
  const auto model = WholeModel::Open(SourcePath("models/books-3m"));
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<int32_t> ids;
  for (int i = 0; i < 200; ++i) ids.push_back(i * 37 % 2048);
  const auto alone = (*model)->Logits(ids, ComputeType::kF32);
  ASSERT_TRUE(alone.ok()) << alone.status();
  std::vector<std::vector<float>> together(2);
  const auto run = [&](size_t i) {
    const auto logits = (*model)->Logits(ids, ComputeType::kF32);
    ASSERT_TRUE(logits.ok());
    together[i] = *logits;
  };
  std::thread first(run, 0), second(run, 1);
  first.join();
  second.join();
  EXPECT_EQ(*alone, together[0]);
  EXPECT_EQ(*alone, together[1]);
}

class Recorder : public InputObserver {
 public:
  void OnInput(int input, const float* x, int64_t tokens, int64_t channels) override {
    inputs.push_back(input);
    widths.push_back(channels);
    finite = finite && std::isfinite(x[0]) && std::isfinite(x[tokens * channels - 1]);
  }
  std::vector<int> inputs;
  std::vector<int64_t> widths;
  bool finite = true;
};

TEST(ForwardTest, ObserverSeesEachInputOnce) {
  const auto model = WholeModel::Open(SourcePath("tests/golden/models/qwen3"));
  ASSERT_TRUE(model.ok()) << model.status();
  Recorder recorder;
  const std::vector<int32_t> ids = {1, 2, 3};
  ASSERT_TRUE((*model)->Activations(ids, ComputeType::kF32, &recorder).ok());
  EXPECT_EQ(recorder.inputs, (std::vector<int>{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(recorder.widths, (std::vector<int64_t>{64, 96, 64, 96, 64, 96, 64, 96}));
  EXPECT_TRUE(recorder.finite);
}

TEST(ForwardTest, ActivationsThatAreNotFiniteAreReported) {
  const auto model = WholeModel::Open(SourcePath("tests/golden/models/llama"));
  ASSERT_TRUE(model.ok()) << model.status();
  Backend& backend = **FindBackend("cpu");
  const ModelSpec& spec = (*model)->spec();
  const auto weights =
      LoadBlock(spec, spec.blocks[0], SourcesOf((*model)->checkpoint(), spec.blocks[0]),
                (*model)->checkpoint(), backend, ComputeType::kF32);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const RopeTables ropes = RopeTables::Make(spec, 4);
  for (const float bad : {std::nanf(""), HUGE_VALF, 3e38F}) {
    std::vector<float> x(static_cast<size_t>(4 * spec.hidden), 0.5F);
    x[70] = bad;
    const absl::Status status = ForwardBlock(spec, spec.blocks[0], *weights, ropes, backend,
                                             ComputeType::kF32, 4, x.data(), nullptr);
    if (std::isfinite(bad)) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_EQ(ReasonOf(status), Reason::kModelNotFinite) << bad;
    }
  }
}

// An expert is shown the tokens that chose it, and one that none chose is shown none.
TEST(ForwardTest, EveryExpertIsShownWhatItGets) {
  const auto model = WholeModel::Open(SourcePath("tests/golden/models/mixtral"));
  ASSERT_TRUE(model.ok()) << model.status();
  class Counter : public InputObserver {
   public:
    void OnInput(int input, const float* /*x*/, int64_t tokens, int64_t /*channels*/) override {
      rows[input] += tokens;
      ++times[input];
    }
    std::map<int, int64_t> rows, times;
  } counter;
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6};
  ASSERT_TRUE((*model)->Activations(ids, ComputeType::kF32, &counter).ok());
  const MixtureSpec& mixture = *(*model)->spec().blocks[0].mixture;
  int64_t routed = 0;
  for (int expert = 0; expert < mixture.experts; ++expert) {
    const int input = 3 + 2 * expert;
    routed += counter.rows[input];
    EXPECT_EQ(counter.rows[input], counter.rows[input + 1]);
    EXPECT_EQ(counter.times[input], 2);  // once per block
  }
  EXPECT_EQ(routed, 2 * 6 * mixture.top_k);
}

TEST(EmbeddingTest, IdsOutsideTheVocabularyAreRefused) {
  const auto model = WholeModel::Open(SourcePath("tests/golden/models/llama"));
  ASSERT_TRUE(model.ok()) << model.status();
  for (const int32_t id : {-1, 128, 1 << 30}) {
    const std::vector<int32_t> ids = {0, id};
    EXPECT_EQ(ReasonOf((*model)->Logits(ids, ComputeType::kF32).status()), Reason::kDatasetInvalid)
        << id;
  }
}

}  // namespace
}  // namespace quantd
