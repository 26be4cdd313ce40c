#include "engine/types/layer_analysis.h"

#include <fmt/format.h>

#include <algorithm>

namespace quantd {
namespace {

constexpr double kHuge = 1e300;

// Sums by name, in the order in which the names came.
class Means {
 public:
  void Add(const std::string& name, double value) {
    const auto found = std::find_if(means_.begin(), means_.end(),
                                    [&](const Mean& mean) { return mean.name == name; });
    Mean& mean = found == means_.end() ? means_.emplace_back(Mean{.name = name}) : *found;
    mean.sum += value;
    ++mean.count;
  }
  std::string Text() const {
    std::string text;
    for (const Mean& mean : means_) {
      text += fmt::format("{}{} {:.2f} %", text.empty() ? "" : ", ", mean.name,
                          100 * mean.sum / mean.count);
    }
    return text;
  }

 private:
  struct Mean {
    std::string name;
    double sum = 0;
    int count = 0;
  };
  std::vector<Mean> means_;
};

}  // namespace

Json ToJson(const LayerAnalysis& analysis) {
  Json salient = Json::array(), codebooks = Json::array();
  for (const SalientProtection& one : analysis.salient) {
    salient.push_back({{"share", one.share},
                       {"channels", one.channels},
                       {"relative_output_error", one.output_error}});
  }
  for (const CodebookError& one : analysis.codebooks) {
    codebooks.push_back({{"name", one.name},
                         {"bits_per_weight", one.bits_per_weight},
                         {"relative_weight_error", one.weight_error},
                         {"relative_output_error", one.output_error}});
  }
  return {{"rows", analysis.rows},
          {"relative_output_error", analysis.output_error},
          {"salient", std::move(salient)},
          {"codebooks", std::move(codebooks)}};
}

absl::StatusOr<LayerAnalysis> LayerAnalysisFromJson(const Json& json) {
  JsonFields fields(json, "analysis");
  LayerAnalysis analysis;
  analysis.rows = fields.Integer("rows", 0, 0, INT64_MAX);
  analysis.output_error = fields.Number("relative_output_error", 0, 0, kHuge);
  const Json* salient = fields.Value("salient");
  const Json* codebooks = fields.Value("codebooks");
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  for (const Json& entry : salient == nullptr ? Json::array() : *salient) {
    JsonFields members(entry, "analysis.salient");
    analysis.salient.push_back(
        {.share = members.Number("share", 0, 0, 1),
         .channels = members.Integer("channels", 0, 0, INT64_MAX),
         .output_error = members.Number("relative_output_error", 0, 0, kHuge)});
    QD_RETURN_IF_ERROR(members.FinishIgnoringUnknown());
  }
  for (const Json& entry : codebooks == nullptr ? Json::array() : *codebooks) {
    JsonFields members(entry, "analysis.codebooks");
    analysis.codebooks.push_back(
        {.name = members.String("name", ""),
         .bits_per_weight = members.Number("bits_per_weight", 0, 0, kHuge),
         .weight_error = members.Number("relative_weight_error", 0, 0, kHuge),
         .output_error = members.Number("relative_output_error", 0, 0, kHuge)});
    QD_RETURN_IF_ERROR(members.FinishIgnoringUnknown());
  }
  return analysis;
}

std::string DescribeAnalyses(const std::vector<const LayerAnalysis*>& analyses) {
  if (analyses.empty()) return "";
  Means means;
  for (const LayerAnalysis* analysis : analyses) {
    means.Add("output error", analysis->output_error);
    for (const SalientProtection& one : analysis->salient) {
      means.Add(fmt::format("with {:g} % of channels in 16 bit", 100 * one.share),
                one.output_error);
    }
    for (const CodebookError& one : analysis->codebooks) {
      if (one.name != "uniform") means.Add("with " + one.name, one.output_error);
    }
  }
  return "analysis: " + means.Text();
}

}  // namespace quantd
