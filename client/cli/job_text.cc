#include "client/cli/job_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "client/cli/errors.h"
#include "engine/types/scheme.h"
#include "proto/convert.h"
#include "proto/convert_time.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

constexpr size_t kModelColumns = 32;

// Two columns, names as wide as the widest.
class Facts {
 public:
  void Add(std::string_view name, std::string value) {
    if (!value.empty()) rows_.emplace_back(name, std::move(value));
  }
  std::string Text() const {
    size_t width = 0;
    for (const auto& [name, value] : rows_) width = std::max(width, name.size());
    std::string text;
    for (const auto& [name, value] : rows_) {
      text += fmt::format("{:<{}}  {}\n", name, width, Printable(value));
    }
    return text;
  }

 private:
  std::vector<std::pair<std::string, std::string>> rows_;
};

std::string ProgressText(const v1::Job& job) {
  if (job.state() == v1::Job::SUCCEEDED) {
    return job.has_result() && job.result().has_evaluation()
               ? fmt::format("KL {:.5f}", job.result().evaluation().kl_mean())
               : "done";
  }
  if (job.state() == v1::Job::FAILED) return job.error().reason();
  const v1::Progress& progress = job.progress();
  if (progress.blocks_total() == 0) return "-";
  return fmt::format("{}/{} blocks", progress.blocks_done(), progress.blocks_total());
}

// What the request asked for, before the method's defaults.
std::string AskedText(const v1::Job& job) {
  const v1::Scheme& scheme = job.spec().recipe().default_scheme();
  std::string text = job.method();
  if (scheme.has_bits()) absl::StrAppend(&text, " ", scheme.bits(), "bit");
  if (!scheme.number_format().empty()) absl::StrAppend(&text, " ", scheme.number_format());
  if (scheme.has_group_size() && scheme.group_size() > 0) {
    absl::StrAppend(&text, " g", scheme.group_size());
  }
  return text;
}

void AddResult(const v1::JobResult& result, Facts& facts) {
  facts.Add("bits per weight", fmt::format("{:.3f}", result.bits_per_weight()));
  facts.Add("size", fmt::format("{} -> {} ({:.2f}x smaller)", HumanBytes(result.bytes_original()),
                                HumanBytes(result.bytes_quantized()), result.compression_ratio()));
  if (result.has_evaluation()) {
    const v1::EvaluationResult& evaluation = result.evaluation();
    facts.Add("perplexity",
              fmt::format("{:.5g} -> {:.5g} on {} tokens", evaluation.perplexity_original(),
                          evaluation.perplexity_quantized(), evaluation.tokens()));
    facts.Add("KL", fmt::format("mean {:.5f}, p99 {:.5f} nats per token", evaluation.kl_mean(),
                                evaluation.kl_p99()));
    facts.Add("top-1 agreement", fmt::format("{:.2f} %", 100 * evaluation.top1_agreement()));
  }
  for (const std::string& missed : result.gate().missed()) facts.Add("gate missed", missed);
  facts.Add("run time", HumanSeconds(absl::ToDoubleSeconds(FromProto(result.run_time()))));
  facts.Add("peak memory", HumanBytes(result.peak_memory_bytes()));
  for (const std::string& warning : result.warnings()) facts.Add("warning", warning);
}

}  // namespace

std::string StateText(v1::Job::State state) {
  return absl::AsciiStrToLower(v1::Job::State_Name(state));
}

std::string SchemeText(const v1::ResolvedLinear& linear) {
  if (!linear.has_scheme()) return "16 bit";
  v1::Recipe recipe;
  *recipe.mutable_default_scheme() = linear.scheme();
  const auto converted = FromProto(recipe);
  if (!converted.ok()) return linear.scheme().method();
  const SchemeRequest& request = converted->default_scheme;
  Scheme scheme;
  scheme.method = request.method.value_or(scheme.method);
  scheme.bits = request.bits.value_or(scheme.bits);
  scheme.granularity = request.granularity.value_or(scheme.granularity);
  scheme.group_size = request.group_size.value_or(0);
  scheme.symmetric = request.symmetric.value_or(scheme.symmetric);
  scheme.scale_rule = request.scale_rule.value_or(scheme.scale_rule);
  scheme.activations = request.activations.value_or(scheme.activations);
  return Describe(scheme);
}

std::string TimeText(const google::protobuf::Timestamp& time, bool set) {
  if (!set) return "-";
  const absl::Time moment = absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", moment, absl::LocalTimeZone());
}

std::string JobName(std::string_view text) {
  return absl::StartsWith(ToAbsl(text), "jobs/") ? std::string(text)
                                                 : absl::StrCat("jobs/", ToAbsl(text));
}

std::string JobTable(std::span<const v1::Job> jobs, int columns) {
  Table table({{.title = "job"},
               {.title = "state"},
               {.title = "method"},
               {.title = "bits", .align = Align::kRight},
               {.title = "model"},
               {.title = "created"},
               {.title = "progress"}});
  for (const v1::Job& job : jobs) {
    const std::filesystem::path model = job.model();
    table.Add({job.name(), StateText(job.state()), job.method(),
               fmt::format("{:.2f}", job.plan().bits_per_weight()),
               KeepEnd(model.filename().string(), kModelColumns),
               TimeText(job.create_time(), job.has_create_time()), ProgressText(job)});
  }
  return table.Text(columns);
}

std::string JobText(const v1::Job& job) {
  Facts facts;
  facts.Add("job", job.name());
  facts.Add("state", StateText(job.state()));
  if (job.has_error()) {
    facts.Add("error", job.error().reason() + ": " + job.error().message());
    for (const auto& violation : job.error().violations()) {
      facts.Add("", fmt::format("{}: got {}, wanted {}", violation.where(), violation.got(),
                                violation.wanted()));
    }
  }
  facts.Add("model", job.model());
  facts.Add("asked for", AskedText(job));
  facts.Add("format", job.has_result() ? job.result().format() : job.spec().output().format());
  for (const auto& [key, value] : job.labels()) facts.Add("label", key + "=" + value);
  facts.Add("created", TimeText(job.create_time(), job.has_create_time()));
  if (job.has_start_time()) facts.Add("started", TimeText(job.start_time(), true));
  if (job.has_end_time()) facts.Add("ended", TimeText(job.end_time(), true));
  facts.Add("attempts", absl::StrCat(job.attempts()));
  facts.Add("worker", job.worker());
  if (!job.has_end_time()) facts.Add("progress", ProgressText(job));
  if (job.has_result()) AddResult(job.result(), facts);
  std::string text = facts.Text();
  if (!job.has_result() && job.has_plan()) text += "\nPlan\n" + PlanText(job.plan());
  return text;
}

std::string PlanText(const v1::Plan& plan) {
  Facts facts;
  facts.Add("family", plan.family());
  facts.Add("parameters", absl::StrCat(plan.parameters()));
  facts.Add("blocks", absl::StrCat(plan.blocks()));
  facts.Add("tensors", absl::StrCat(plan.tensors(), " in ", plan.shards_size(),
                                    plan.shards_size() == 1 ? " file" : " files"));
  facts.Add("size", HumanBytes(plan.bytes_original()) + " -> " + HumanBytes(plan.artifact_bytes()));
  facts.Add("format", plan.format());
  facts.Add("bits per weight", fmt::format("{:.3f}", plan.bits_per_weight()));
  facts.Add("memory", "about " + HumanBytes(plan.peak_memory_bytes()));
  facts.Add("time",
            "about " + HumanSeconds(absl::ToDoubleSeconds(FromProto(plan.estimated_run_time()))));
  facts.Add("forward pass", plan.needs_forward() ? "yes" : "no");
  if (plan.calibration_windows() > 0) {
    facts.Add("calibration", std::to_string(plan.calibration_windows()) + " windows");
  }
  for (const std::string& warning : plan.warnings()) facts.Add("warning", warning);

  struct Row {
    std::string scheme;
    int64_t linears = 0, weights = 0;
    std::string first;
  };
  std::vector<Row> rows;
  for (const v1::ResolvedLinear& linear : plan.linears()) {
    const std::string scheme = SchemeText(linear);
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const Row& other) { return other.scheme == scheme; });
    if (row == rows.end()) row = rows.insert(row, {.scheme = scheme, .first = linear.name()});
    ++row->linears;
    row->weights += linear.out_features() * linear.in_features();
  }
  if (rows.empty()) return facts.Text();
  Table table({{.title = "scheme"},
               {.title = "linears", .align = Align::kRight},
               {.title = "weights", .align = Align::kRight},
               {.title = "first"}});
  for (const Row& row : rows) {
    table.Add({row.scheme, absl::StrCat(row.linears), absl::StrCat(row.weights), row.first});
  }
  return facts.Text() + "\n" + table.Text();
}

}  // namespace quantd
