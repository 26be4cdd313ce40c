#include "terminal/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

// Mean KL; infinite when nobody measured it, so that it beats nobody.
double DivergenceOf(const ComparedResult& result) {
  return result.report.evaluation.has_value() ? result.report.evaluation->kl_mean
                                              : std::numeric_limits<double>::infinity();
}

bool Beats(const ComparedResult& a, const ComparedResult& b) {
  const std::pair mine(a.report.bits_per_weight, DivergenceOf(a));
  const std::pair theirs(b.report.bits_per_weight, DivergenceOf(b));
  return mine.first <= theirs.first && mine.second <= theirs.second && mine != theirs;
}

template <typename Value>
bool Differ(std::span<const ComparedResult> results, const Value& value) {
  return std::any_of(results.begin(), results.end(), [&](const ComparedResult& result) {
    return value(result.report) != value(results.front().report);
  });
}

}  // namespace

void MarkFrontier(std::vector<ComparedResult>& results) {
  std::stable_sort(results.begin(), results.end(), [](const auto& a, const auto& b) {
    return std::pair(a.report.bits_per_weight, DivergenceOf(a)) <
           std::pair(b.report.bits_per_weight, DivergenceOf(b));
  });
  for (ComparedResult& result : results) {
    result.on_frontier =
        result.report.evaluation.has_value() &&
        std::none_of(results.begin(), results.end(),
                     [&](const ComparedResult& other) { return Beats(other, result); });
  }
}

std::vector<std::string> Incomparable(std::span<const ComparedResult> results) {
  std::vector<std::string> lines;
  if (results.empty()) return lines;
  if (Differ(results, [](const Report& report) { return report.model_fingerprint; })) {
    lines.emplace_back("these are results of different models");
  }
  std::vector<ComparedResult> evaluated;
  std::copy_if(results.begin(), results.end(), std::back_inserter(evaluated),
               [](const auto& result) { return result.report.evaluation.has_value(); });
  if (Differ(evaluated, [](const Report& report) {
        return std::pair(report.evaluation_digest, report.evaluation->tokens);
      })) {
    lines.emplace_back(
        "they were not evaluated on the same tokens: KL and perplexity differ for "
        "that reason too");
  }
  return lines;
}

std::string ComparisonTable(std::span<const ComparedResult> results, int columns) {
  Table table({{.title = "result"},
               {.title = "scheme"},
               {.title = "bits", .align = Align::kRight},
               {.title = "size", .align = Align::kRight},
               {.title = "ppl", .align = Align::kRight},
               {.title = "mean KL", .align = Align::kRight},
               {.title = "top-1", .align = Align::kRight},
               {.title = "seconds", .align = Align::kRight},
               {.title = "best"}});
  for (const ComparedResult& result : results) {
    const Report& report = result.report;
    std::string perplexity = "-", divergence = "-", top1 = "-";
    if (report.evaluation.has_value()) {
      perplexity = fmt::format("{:.4g}", report.evaluation->perplexity_quantized);
      divergence = fmt::format("{:.5f}", report.evaluation->kl_mean);
      top1 = fmt::format("{:.2f} %", 100 * report.evaluation->top1_agreement);
    }
    table.Add({result.name, DescribeSchemes(report), fmt::format("{:.3f}", report.bits_per_weight),
               HumanBytes(report.bytes_quantized), perplexity, divergence, top1,
               fmt::format("{:.2f}", report.seconds_total), result.on_frontier ? "*" : ""});
  }
  return table.Text(columns);
}

Json ToJson(std::span<const ComparedResult> results) {
  Json list = Json::array();
  for (const ComparedResult& result : results) {
    const Report& report = result.report;
    Json entry = {{"name", result.name},
                  {"model", report.model_name},
                  {"scheme", DescribeSchemes(report)},
                  {"bits_per_weight", report.bits_per_weight},
                  {"bytes_original", report.bytes_original},
                  {"bytes_quantized", report.bytes_quantized},
                  {"perplexity_original", nullptr},
                  {"perplexity_quantized", nullptr},
                  {"kl_mean", nullptr},
                  {"kl_p99", nullptr},
                  {"top1_agreement", nullptr},
                  {"seconds_total", report.seconds_total},
                  {"frontier", result.on_frontier}};
    if (const auto& evaluation = report.evaluation) {
      entry["perplexity_original"] = evaluation->perplexity_original;
      entry["perplexity_quantized"] = evaluation->perplexity_quantized;
      entry["kl_mean"] = evaluation->kl_mean;
      entry["kl_p99"] = evaluation->kl_p99;
      entry["top1_agreement"] = evaluation->top1_agreement;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace quantd
