// Artifacts of FP8 checkpoints are those of the dense models that they stand for.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/run/quantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/float8_models.h"
#include "tests/engine/open_model.h"
#include "tests/engine/silent_sink.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class Float8Test : public ::testing::TestWithParam<std::string> {
 protected:
  absl::StatusOr<Report> Run(const std::string& model, const std::string& out,
                             const std::string& format) {
    QuantizeRequest request;
    request.model_folder = model;
    request.output_folder = Out(out);
    request.recipe = *ParseRecipe("default: {method: int8}\nskip: [\"*.o_proj\", lm_head]");
    if (format == "dequantized") {
      request.recipe = *ParseRecipe("default: {granularity: channel}\nskip: [\"*.o_proj\"]");
    }
    request.output.format = format;
    request.evaluation.enabled = false;
    QD_ASSIGN_OR_RETURN(const auto planned, MakePlan(request));
    SilentSink nobody;
    return Quantize(*planned, nobody);
  }
  std::string Out(const std::string& name) const { return folder_.path() + "/" + name; }
  Json ConfigOf(const std::string& out) const {
    return *ParseJson(*ReadFile(Out(out) + "/config.json", 1 << 20), "config.json");
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("float8-run");
};

TEST_P(Float8Test, TheArtifactIsThatOfTheDenseModel) {
  const auto report = Run(Float8Folder(GetParam()), "a", "compressed-tensors");
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_TRUE(Run(WriteDequantized(GetParam(), folder_), "b", "compressed-tensors").ok());
  EXPECT_EQ(*ReadFile(Out("a") + "/model.safetensors", 1 << 26),
            *ReadFile(Out("b") + "/model.safetensors", 1 << 26));
  EXPECT_EQ(ConfigOf("a"), ConfigOf("b"));
  EXPECT_THAT(report->warnings, Contains(HasSubstr("quantized before")));
  EXPECT_THAT(report->warnings, Not(Contains(HasSubstr("_scale"))));
}

TEST_P(Float8Test, NothingOfTheOldQuantizationIsLeft) {
  const auto report = Run(Float8Folder(GetParam()), "a", "dequantized");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(ConfigOf("a").contains("quantization_config"));
  const auto written = OpenCheckpoint(Out("a")), source = OpenCheckpoint(Float8Folder(GetParam()));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->stored_as(), "");
  ASSERT_EQ(written->Tensors().size(), source->Tensors().size());
  const std::string skipped = "model.layers.0.self_attn.o_proj.weight";
  EXPECT_TRUE(std::ranges::equal(written->Read(skipped)->bytes.span(),
                                 source->Read(skipped)->bytes.span()));
}

INSTANTIATE_TEST_SUITE_P(Models, Float8Test, ::testing::ValuesIn(Float8Models()),
                         [](const auto& model) { return Float8TestName(model.param); });

}  // namespace
}  // namespace quantd
