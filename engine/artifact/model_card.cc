#include "engine/artifact/model_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/types/model_title.h"

namespace quantd {
namespace {

// How many linears have which scheme.
std::map<std::string, int64_t> SchemeCounts(const Plan& plan) {
  std::map<std::string, int64_t> counts;
  for (const ResolvedLinear& entry : plan.linears) {
    ++counts[entry.scheme.has_value() ? Describe(*entry.scheme) : "16 bit, as it was"];
  }
  return counts;
}

std::string Accuracy(const Report& report) {
  if (!report.evaluation.has_value()) return "Not measured: the job ran without evaluation.\n";
  const EvaluationResult& result = *report.evaluation;
  return fmt::format(
      "| | original | quantized |\n|---|---|---|\n| perplexity | {:.4f} | {:.4f} |\n\n"
      "Mean KL(original \\|\\| quantized) {:.6f} nats per token (99th percentile {:.6f}), the same "
      "most likely token "
      "at {:.2f} % of {} positions. Both models were run by the same code on the same tokens.\n",
      result.perplexity_original, result.perplexity_quantized, result.kl_mean, result.kl_p99,
      100 * result.top1_agreement, result.tokens);
}

// How far the outputs of the linears are off: the middle one and the worst.
std::string OutputErrors(const Report& report) {
  std::vector<std::pair<double, std::string_view>> errors;
  for (const LayerReport& layer : report.layers) {
    if (layer.relative_output_error) errors.emplace_back(*layer.relative_output_error, layer.name);
  }
  if (errors.empty()) return "";
  std::sort(errors.begin(), errors.end());
  const auto& [worst, name] = errors.back();
  return fmt::format(
      "\nThe output of a linear is off by {:.2f} % in the median, at most by {:.2f} % "
      "(`{}`).\n",
      100 * errors[errors.size() / 2].first, 100 * worst, name);
}

std::string Loaders(const Format& format) {
  std::string names;
  for (const LoaderRow& loader : format.loaders)
    names += (names.empty() ? "" : ", ") + std::string(loader.name);
  return names;
}

// How the result is run.
std::string Snippet(const PlannedQuantization& planned) {
  const Plan& plan = planned.plan;
  if (plan.files.empty()) {
    return "```python\nfrom transformers import AutoModelForCausalLM\n"
           "model = AutoModelForCausalLM.from_pretrained(\"path/to/this/folder\")\n```\n";
  }
  const char* all =
      plan.files.size() == 1 ? "" : "\nThe first file is named; the others are found beside it.\n";
  return fmt::format(
      "```sh\nllama-cli -m {0} -p \"Once upon a time\" -n 64\n"
      "llama-server -m {0} --port 8080\n```\n{1}",
      plan.files[0].name, all);
}

}  // namespace

std::string ModelCard(const PlannedQuantization& planned, const Report& report) {
  const Plan& plan = planned.plan;
  const std::string name = ModelTitle(planned.files->location());
  std::string card = fmt::format(
      "---\nbase_model: {0}\nlibrary_name: {8}\ntags:\n- quantd\n- {1}\n---\n\n# {0}, "
      "quantized\n\n"
      "A {2} model of {3:.1f} M parameters, quantized by quantd {4} and stored as `{1}`.\n"
      "{5:.3f} bits per quantized weight; {6:.1f} MB instead of {7:.1f} MB.\n\n## What was done\n\n"
      "| linears | scheme |\n|---|---|\n",
      name, plan.format->name, report.family, static_cast<double>(report.parameters) / 1e6,
      report.engine_version, report.bits_per_weight,
      static_cast<double>(report.bytes_quantized) / 1e6,
      static_cast<double>(report.bytes_original) / 1e6,
      plan.files.empty() ? "transformers" : "gguf");
  for (const auto& [scheme, count] : SchemeCounts(plan))
    card += fmt::format("| {} | {} |\n", count, scheme);
  if (!report.cache.empty()) {
    card += "\nKeys and values are to be cached in FP8 (E4M3), by the scales beside the weights.\n";
  }
  card += "\n## Accuracy\n\n" + Accuracy(report) + OutputErrors(report);
  card += fmt::format(
      "\n## Loading\n\nRead by: {}.\n\n{}\n"
      "`quantd/report.html` shows the error of every linear by depth and module type; "
      "`quantd/report.json` has the same for programs, with the recipe of every linear and the "
      "digest of every file.\n",
      Loaders(*plan.format), Snippet(planned));
  return card;
}

}  // namespace quantd
