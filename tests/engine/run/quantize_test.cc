#include "engine/run/quantize.h"

#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/digest.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/shard_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

const std::string kModel = SourcePath("models/books-3m");

class Recorder : public ProgressSink {
 public:
  void OnProgress(const ProgressReport& report) override {
    last = report;
    ++progress_reports;
    if (cancel_after_blocks >= 0 && report.blocks_done >= cancel_after_blocks) cancelled = true;
  }
  void OnLayer(const LayerReport& report) override { layers.push_back(report); }
  void OnFile(const SealedFile& file) override { files.push_back(file); }
  void OnWarning(std::string_view text) override { warnings.emplace_back(text); }
  bool Cancelled() override { return cancelled; }

  ProgressReport last;
  int progress_reports = 0;
  int64_t cancel_after_blocks = -1;
  std::atomic<bool> cancelled = false;
  std::vector<LayerReport> layers;
  std::vector<SealedFile> files;
  std::vector<std::string> warnings;
};

class QuantizeTest : public ::testing::Test {
 protected:
  QuantizeRequest Request(const std::string& recipe, const std::string& out) const {
    QuantizeRequest request;
    request.model_folder = kModel;
    request.output_folder = folder_.path() + "/" + out;
    request.recipe = *ParseRecipe(recipe);
    request.evaluation.windows = 4;
    request.evaluation.tokens_per_window = 128;
    request.calibration.samples = 4;
    request.calibration.tokens_per_sample = 128;
    return request;
  }
  // A copy of the bundled model that a test may damage.
  std::string CopyOfModel() const {
    const std::string copy = folder_.path() + "/model";
    fs::copy(kModel, copy);
    return copy;
  }
  absl::StatusOr<Report> Run(const QuantizeRequest& request) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    return Quantize(**planned, recorder_);
  }
  // Digest of every file of an artifact but those that carry times.
  static std::map<std::string, std::string> Digests(const std::string& artifact) {
    std::map<std::string, std::string> digests;
    for (const auto& entry : fs::recursive_directory_iterator(artifact)) {
      if (!entry.is_regular_file() || entry.path().parent_path().filename() == "quantd") continue;
      digests[fs::relative(entry.path(), artifact).string()] =
          Sha256Hex(*ReadFile(entry.path().string(), 1 << 30));
    }
    return digests;
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("quantize-test");
  Recorder recorder_;
};

constexpr std::string_view kInt4 = "default: {method: rtn, bits: 4, group_size: 128}";
constexpr std::string_view kInt8 = "default: {method: int8}";

TEST_F(QuantizeTest, WritesALoadableFolderAndTellsWhatItDid) {
  const auto report = Run(Request(std::string(kInt4), "out"));
  ASSERT_TRUE(report.ok()) << report.status();
  const std::string out = folder_.path() + "/out";
  for (const std::string name :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md",
        "quantd/report.json", "quantd/manifest.json"}) {
    EXPECT_TRUE(PathExists(out + "/" + name)) << name;
  }
  EXPECT_EQ(recorder_.layers.size(), 28u);
  EXPECT_EQ(recorder_.last.stage, Stage::kDone);
  EXPECT_EQ(recorder_.last.blocks_done, 4);
  // One bf16 scale for 128 codes of 4 bits.
  EXPECT_DOUBLE_EQ(report->bits_per_weight, 4.125);
  for (const LayerReport& layer : report->layers) {
    EXPECT_GT(layer.weight_snr_db, 15) << layer.name;
    ASSERT_TRUE(layer.relative_output_error.has_value()) << layer.name;
    EXPECT_GT(*layer.relative_output_error, 0.01) << layer.name;
    EXPECT_LT(*layer.relative_output_error, 0.3) << layer.name;
  }
  ASSERT_TRUE(report->evaluation.has_value());
  EXPECT_EQ(report->evaluation->tokens, 4 * 127);
  EXPECT_GT(report->evaluation->kl_mean, 0.001);
  EXPECT_LT(report->evaluation->kl_mean, 0.03);
  EXPECT_GT(report->evaluation->kl_p99, report->evaluation->kl_mean);
  EXPECT_GT(report->evaluation->top1_agreement, 0.85);
  const auto on_disk =
      ReportFromJson(*ParseJson(*ReadFile(out + "/quantd/report.json", 1 << 24), "report"));
  ASSERT_TRUE(on_disk.ok()) << on_disk.status();
  EXPECT_EQ(on_disk->evaluation->kl_mean, report->evaluation->kl_mean);
}

TEST_F(QuantizeTest, TheManifestNamesEveryFileWithItsDigest) {
  ASSERT_TRUE(Run(Request(std::string(kInt8), "out")).ok());
  const std::string out = folder_.path() + "/out";
  const Json manifest = *ParseJson(*ReadFile(out + "/quantd/manifest.json", 1 << 20), "manifest");
  std::map<std::string, std::string> listed;
  for (const Json& file : manifest["files"]) {
    listed[file["path"].get<std::string>()] = file["sha256"].get<std::string>();
  }
  for (const auto& [path, digest] : Digests(out)) EXPECT_EQ(listed[path], digest) << path;
  EXPECT_TRUE(listed.contains("quantd/report.json"));
}

TEST_F(QuantizeTest, SameBytesForAnyNumberOfThreads) {
  for (const std::string& recipe :
       {std::string(kInt4), std::string(kInt8),
        std::string("default: {method: rtn, scale_rule: weighted-mse}")}) {
    std::vector<std::map<std::string, std::string>> digests;
    std::vector<EvaluationResult> results;
    for (const int threads : {1, 2, 3}) {
      QuantizeRequest request = Request(recipe, "out" + std::to_string(threads));
      request.resources.threads = threads;
      const auto report = Run(request);
      ASSERT_TRUE(report.ok()) << report.status();
      digests.push_back(Digests(request.output_folder));
      results.push_back(*report->evaluation);
      fs::remove_all(request.output_folder);
    }
    EXPECT_EQ(digests[0], digests[1]) << recipe;
    EXPECT_EQ(digests[0], digests[2]) << recipe;
    EXPECT_EQ(results[0].kl_mean, results[1].kl_mean) << recipe;
    EXPECT_EQ(results[0].perplexity_quantized, results[2].perplexity_quantized) << recipe;
  }
}

TEST_F(QuantizeTest, ShardsAndTheirIndexHoldEveryTensorOnce) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.output.shard_bytes = 1 << 20;
  request.evaluation.enabled = false;
  ASSERT_TRUE(Run(request).ok());
  EXPECT_FALSE(PathExists(request.output_folder + "/model.safetensors"));
  const auto checkpoint = OpenCheckpoint(request.output_folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_GE(checkpoint->files().size(), 2u);
  EXPECT_NE(checkpoint->Find("model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(checkpoint->Find("lm_head.weight"), nullptr);
  EXPECT_NE(checkpoint->Find("model.layers.3.mlp.down_proj.weight_packed"), nullptr);
}

TEST_F(QuantizeTest, ConvertsWithoutEvaluationAndSkipsWhatItIsTold) {
  QuantizeRequest request = Request("default: {method: rtn}\nskip: [lm_head, '*.v_proj']", "out");
  request.evaluation.enabled = false;
  const auto report = Run(request);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->evaluation.has_value());
  EXPECT_EQ(report->layers.size(), 24u);
  const auto checkpoint = OpenCheckpoint(request.output_folder);
  const auto original = OpenCheckpoint(kModel);
  const std::string name = "model.layers.2.self_attn.v_proj.weight";
  const Tensor kept = *checkpoint->Read(name), before = *original->Read(name);
  ASSERT_EQ(kept.info.bytes(), before.info.bytes());
  EXPECT_EQ(
      std::memcmp(kept.bytes.data(), before.bytes.data(), static_cast<size_t>(kept.info.bytes())),
      0);
}

TEST_F(QuantizeTest, MoreBitsAndBetterRulesAreBetter) {
  const auto kl = [&](const std::string& recipe, const std::string& out) {
    const auto report = Run(Request(recipe, out));
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->evaluation->kl_mean : 0.0;
  };
  const double absmax =
      kl("default: {method: rtn, bits: 4, group_size: 128, scale_rule: absmax}", "a");
  const double mse = kl("default: {method: rtn, bits: 4, group_size: 128, scale_rule: mse}", "b");
  const double eight = kl("default: {method: int8}", "c");
  EXPECT_LT(mse, absmax);
  EXPECT_LT(eight, 0.3 * mse);
}

TEST_F(QuantizeTest, CalibrationIsGatheredWhenARuleAsksForIt) {
  const auto report = Run(Request("default: {method: rtn, scale_rule: weighted-mse}", "out"));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->calibration_tokens, 4 * 128);
  EXPECT_EQ(report->calibration_digest.size(), 64u);
  const auto quantized =
      Run(Request("default: {method: rtn, scale_rule: weighted-mse}\npropagate: quantized", "q"));
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  EXPECT_NE(quantized->evaluation->kl_mean, report->evaluation->kl_mean);
}

TEST_F(QuantizeTest, CancelledBetweenBlocks) {
  recorder_.cancel_after_blocks = 2;
  const auto report = Run(Request(std::string(kInt4), "out"));
  EXPECT_EQ(ReasonOf(report.status()), Reason::kCancelled);
  EXPECT_FALSE(PathExists(folder_.path() + "/out/quantd/manifest.json"));
  EXPECT_FALSE(PathExists(folder_.path() + "/out/model.safetensors"));
}

// Writes `bits` over the first element of a bf16 tensor.
void Poke(const std::string& model, const std::string& tensor, uint16_t bits) {
  const auto file = RandomAccessFile::Open(model + "/model.safetensors");
  const auto header = ReadSafetensorsHeader(**file);
  for (const auto& entry : header->entries) {
    if (entry.info.name != tensor) continue;
    FILE* raw = std::fopen((model + "/model.safetensors").c_str(), "r+b");
    std::fseek(raw, static_cast<long>(entry.offset) + 10, SEEK_SET);
    std::fwrite(&bits, 2, 1, raw);
    std::fclose(raw);
  }
}

TEST_F(QuantizeTest, NotANumberInWeightsStopsTheJobNamingTheTensor) {
  for (const std::string tensor :
       {"model.layers.1.mlp.up_proj.weight", "model.layers.2.input_layernorm.weight",
        "model.embed_tokens.weight", "model.norm.weight"}) {
    for (const bool evaluate : {false, true}) {
      const std::string model = CopyOfModel();
      Poke(model, tensor, 0x7fc0);
      QuantizeRequest request = Request(std::string(kInt4), "out");
      request.model_folder = model;
      request.evaluation.enabled = evaluate;
      const absl::Status status = Run(request).status();
      EXPECT_EQ(ReasonOf(status), Reason::kModelNotFinite) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(tensor)) << evaluate;
      fs::remove_all(model);
    }
  }
}

TEST_F(QuantizeTest, AFullDiskEndsTheJobAndLeavesNoHalfFile) {
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 500000;
  const auto planned = MakePlan(Request(std::string(kInt4), "out"));
  ASSERT_TRUE(planned.ok());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = Quantize(**planned, recorder_).status();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(ReasonOf(status), Reason::kDiskFull) << status;
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path() + "/out")) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("partial")));
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("model.safetensors")));
  }
}

TEST_F(QuantizeTest, LogitsOfAWindowAreWrittenOnRequest) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.evaluation.logits_windows = 2;
  ASSERT_TRUE(Run(request).ok());
  const auto file = RandomAccessFile::Open(request.output_folder + "/quantd/logits.safetensors");
  ASSERT_TRUE(file.ok());
  const auto header = ReadSafetensorsHeader(**file);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->entries.size(), 3u);
  EXPECT_EQ(header->entries[1].info.shape, (std::vector<int64_t>{2, 128, 2048}));
}

// What can be refused is refused before any work, and leaves nothing behind.
class RefusalTest : public QuantizeTest {
 protected:
  void Refuses(const QuantizeRequest& request, Reason reason, const std::string& text) {
    const absl::Status status = Run(request).status();
    EXPECT_EQ(ReasonOf(status), reason) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_FALSE(PathExists(request.output_folder));
  }
};

TEST_F(RefusalTest, RecipesThatDoNotFit) {
  Refuses(Request("default: {group_size: 96}", "out"), Reason::kRecipeInvalid, "96");
  Refuses(Request("default: {method: magic}", "out"), Reason::kRecipeInvalid, "magic");
  QuantizeRequest request = Request("default: {method: hqq, bits: 3}", "out");
  request.output.format = "compressed-tensors";
  Refuses(request, Reason::kFormatCannotHold, "zero");
  Refuses(Request("skip: []", "out"), Reason::kRecipeInvalid, "lm_head");
}

TEST_F(RefusalTest, ModelsThatAreNotThere) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.model_folder = folder_.path() + "/none";
  Refuses(request, Reason::kModelNotFound, "none");
}

TEST_F(RefusalTest, TruncatedWeights) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.model_folder = CopyOfModel();
  fs::resize_file(request.model_folder + "/model.safetensors", 3000000);
  Refuses(request, Reason::kModelCorrupt, "model.safetensors");
}

TEST_F(RefusalTest, UnknownFamilies) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.model_folder = CopyOfModel();
  Json config = *ParseJson(*ReadFile(kModel + "/config.json", 1 << 20), "config");
  config["model_type"] = "mamba";
  ASSERT_TRUE(WriteFileAtomic(request.model_folder + "/config.json", DumpJson(config)).ok());
  Refuses(request, Reason::kModelUnsupported, "llama");
}

TEST_F(RefusalTest, OutputsTextsLimitsAndBackends) {
  QuantizeRequest request = Request(std::string(kInt4), "out");
  request.output.format = "papyrus";
  Refuses(request, Reason::kFormatCannotHold, "compressed-tensors");
  request = Request(std::string(kInt4), "out");
  request.output.loader = "toaster";
  Refuses(request, Reason::kLoaderRefuses, "vllm");
  request = Request(std::string(kInt4), "out");
  request.evaluation.text = folder_.path() + "/none.txt";
  Refuses(request, Reason::kDatasetInvalid, "none.txt");
  request = Request(std::string(kInt4), "out");
  request.evaluation.tokens_per_window = 100000;
  Refuses(request, Reason::kDatasetInvalid, "512");
  request = Request(std::string(kInt4), "out");
  request.resources.max_memory_bytes = 1 << 20;
  Refuses(request, Reason::kMemoryBudget, "max_memory_bytes");
  request = Request(std::string(kInt4), "out");
  request.resources.backend = "abacus";
  EXPECT_FALSE(MakePlan(request).ok());
  request = Request(std::string(kInt4), "out");
  request.evaluation.enabled = false;
  request.gate.max_mean_kl = 1;
  Refuses(request, Reason::kInvalidField, "gate");
}

}  // namespace
}  // namespace quantd
