#include "engine/report_page/report_page.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "base/digest.h"
#include "tests/engine/report_page/markup.h"

namespace quantd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kRoles[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                  "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                  "mlp.down_proj"};

LayerReport LayerOf(const std::string& name, double error) {
  LayerReport layer;
  layer.name = name;
  layer.out_features = 256;
  layer.in_features = 640;
  layer.method = "awq";
  layer.bits = 4;
  layer.group_size = 128;
  layer.scale_rule = "mse";
  layer.granularity = "group";
  layer.activations = "none";
  layer.weight_snr_db = 20 + error;
  layer.relative_output_error = error;
  layer.figures = {{"alpha", 0.35}};
  layer.seconds = 0.125;
  return layer;
}

Report ReportOf(int blocks) {
  Report report;
  report.model_name = "books";
  report.family = "llama";
  report.format = "compressed-tensors";
  report.bits_per_weight = 4.125;
  report.bytes_original = 6'560'000;
  report.bytes_quantized = 2'470'000;
  report.evaluation = EvaluationResult{.tokens = 3,
                                       .perplexity_original = 38.33,
                                       .perplexity_quantized = 38.69,
                                       .kl_mean = 0.00917,
                                       .kl_p99 = 0.0581,
                                       .top1_agreement = 0.9211};
  for (const double kl : {0.001, 0.002, 0.5}) report.evaluation->kl_histogram.Add(kl);
  report.seconds = {{Stage::kOpen, 0.5}, {Stage::kQuantize, 1.25}};
  report.seconds_total = 1.75;
  for (int block = 0; block < blocks; ++block) {
    for (int role = 0; role < 7; ++role) {
      report.layers.push_back(LayerOf(fmt::format("model.layers.{}.{}", block, kRoles[role]),
                                      0.01 * (1 + role) + 0.0001 * block));
    }
  }
  report.resolved_recipe.push_back({{"name", "lm_head"}, {"skip", true}});
  return report;
}

Markup Checked(const std::string& page) {
  Markup markup = MarkupReader(page).Read();
  EXPECT_EQ(markup.error, "");
  return markup;
}

TEST(ReportPage, SaysWhatTheAnalysisFound) {
  Report report = ReportOf(2);
  EXPECT_THAT(ReportPage(report), Not(HasSubstr("id=\"analysis\"")));
  report.layers[0].analysis = LayerAnalysis{
      .rows = 256,
      .output_error = 0.0521,
      .salient = {{.share = 0.001, .channels = 1, .output_error = 0.0432}},
      .codebooks = {{"uniform", 4.125, 0.0711, 0.0521}, {"nf4", 4.125, 0.07, 0.0555}}};
  report.layers[3].analysis =
      LayerAnalysis{.rows = 256, .output_error = 0.0321, .salient = {}, .codebooks = {}};
  const std::string page = ReportPage(report);
  Checked(page);
  for (const char* text : {"id=\"analysis\"", "0.1 % protected", "nf4, 4.12 bits", "<td>5.21</td>",
                           "<td>4.32</td>", "<td>7.11</td>", "mean of all", "<td>4.21</td>"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(ReportPage, SaysTheFiguresOfTheReport) {
  const Report report = ReportOf(4);
  const std::string page = ReportPage(report);
  const Markup markup = Checked(page);
  for (const char* text : {"<h1>books</h1>", "4.125", "2.47 MB", "38.69", "0.00917", "0.0581",
                           "92.11 %", "1.75 s", "awq int4 g128 sym mse", "Output error by depth",
                           "Bits by layer", "KL of the tokens", "Time per stage"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  // A row of the table: name, scheme, shape, SNR, error, alpha, seconds.
  ASSERT_GE(markup.cells.size(), report.layers.size() * 7);
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const LayerReport& layer = report.layers[i];
    const std::string* row = &markup.cells[i * 7];
    EXPECT_EQ(row[0], layer.name);
    EXPECT_EQ(row[1], "awq int4 g128 sym mse");
    EXPECT_EQ(row[2], "256 × 640");
    EXPECT_EQ(row[3], fmt::format("{:.2f}", layer.weight_snr_db));
    EXPECT_EQ(row[4], fmt::format("{:.2f}", 100 * *layer.relative_output_error));
    EXPECT_EQ(row[5], "0.35");
    EXPECT_EQ(row[6], "0.125");
  }
}

TEST(ReportPage, NamesFromOutsideStayText) {
  const std::string evil = "</td></script><script>alert(1)</script>\"onload='x'&amp;\x1b[2J";
  Report report = ReportOf(2);
  report.model_name = evil;
  report.family = report.format = report.isa = report.backend = evil;
  report.warnings = {evil};
  report.gate = {.passed = false, .missed = {evil}, .limits = {evil}};
  report.files = {{.path = evil, .bytes = 1, .sha256 = evil}};
  report.layers[3].name = "model.layers.0." + evil;
  report.layers[3].method = evil;
  report.layers[4].figures = {{evil, 1}};
  const std::string page = ReportPage(report);
  const Markup markup = Checked(page);
  EXPECT_EQ(markup.tags.at("script"), 1);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script>alert")), Not(HasSubstr("\x1b")),
                          HasSubstr("&lt;script&gt;alert(1)")));
  EXPECT_FALSE(markup.attributes.contains("onload"));
}

TEST(ReportPage, AsksForNothing) {
  const std::string page = ReportPage(ReportOf(4));
  const Markup markup = Checked(page);
  for (const char* tag : {"link", "img", "iframe", "object", "a", "form", "base", "use", "image"}) {
    EXPECT_FALSE(markup.tags.contains(tag)) << tag;
  }
  for (const char* attribute : {"src", "href", "onclick", "action"}) {
    EXPECT_FALSE(markup.attributes.contains(attribute)) << attribute;
  }
  for (const char* text : {"http:", "https:", "url(", "@import", "fetch("}) {
    EXPECT_THAT(page, Not(HasSubstr(text)));
  }
}

TEST(ReportPage, ThePolicyAllowsItsOwnScriptAlone) {
  const std::string page = ReportPage(ReportOf(1));
  const size_t begin = page.find("<script>") + 8, end = page.find("</script>");
  const std::string digest =
      absl::Base64Escape(absl::HexStringToBytes(Sha256Hex(page.substr(begin, end - begin))));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("script-src 'sha256-" + digest + "'"));
}

TEST(ReportPage, EightyBlocksAndThousandsOfExpertsStaySmall) {
  const std::string deep = ReportPage(ReportOf(80));
  Checked(deep);
  EXPECT_LT(deep.size(), 500'000U);
  Report experts = ReportOf(0);
  for (int i = 0; i < 20'000; ++i) {
    experts.layers.push_back(
        LayerOf(fmt::format("model.layers.{}.mlp.experts.{}.up_proj", i % 40, i / 40), 1e-5 * i));
  }
  const std::string wide = ReportPage(experts);
  const Markup markup = Checked(wide);
  EXPECT_LT(wide.size(), 500'000U);
  EXPECT_THAT(wide, HasSubstr("The 1000 worst of 20,000"));
  EXPECT_EQ(markup.cells[4], "19.00");  // the least of the thousand
}

TEST(ReportPage, WhatWasNotMeasuredIsNotShown) {
  Report report = ReportOf(2);
  report.evaluation.reset();
  for (LayerReport& layer : report.layers) layer.relative_output_error.reset();
  report.layers[0].weight_snr_db = 999;
  const std::string page = ReportPage(report);
  const Markup markup = Checked(page);
  EXPECT_THAT(page, AllOf(HasSubstr("not measured"), Not(HasSubstr("Output error by depth")),
                          Not(HasSubstr("KL of the tokens"))));
  EXPECT_EQ(markup.cells[3], "∞");
  EXPECT_EQ(markup.cells[4], "–");
}

TEST(ReportPage, AnEmptyReportAndValuesThatAreNoNumbers) {
  Checked(ReportPage(Report()));
  Report report = ReportOf(3);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  report.evaluation->kl_mean = report.evaluation->perplexity_quantized = nan;
  report.evaluation->kl_p99 = std::numeric_limits<double>::infinity();
  report.layers[0].relative_output_error = nan;
  report.layers[1].relative_output_error = 0;
  report.layers[2].weight_snr_db = -std::numeric_limits<double>::infinity();
  const std::string page = ReportPage(report);
  Checked(page);
  for (const char* coordinate : {"\"nan", "\"inf", " nan\"", "Lnan", "Mnan"}) {
    EXPECT_THAT(page, Not(HasSubstr(coordinate)));
  }
}

TEST(ReportPage, TheVerdictIsThatOfTheGate) {
  Report report = ReportOf(1);
  EXPECT_THAT(ReportPage(report), HasSubstr("no quality gate"));
  report.gate.limits = {"mean KL at most 0.01"};
  EXPECT_THAT(ReportPage(report), HasSubstr("quality gate passed"));
  report.gate.passed = false;
  report.gate.missed = {"mean KL: got 0.02, wanted at most 0.01"};
  EXPECT_THAT(ReportPage(report),
              AllOf(HasSubstr("quality gate missed"), HasSubstr("got 0.02, wanted at most 0.01")));
}

}  // namespace
}  // namespace quantd
