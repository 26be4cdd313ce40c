#include "engine/budget/choose_recipe.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/budget/allocation.h"
#include "engine/budget/sensitivity.h"
#include "engine/gguf_source/open_model.h"
#include "engine/method/auto.h"
#include "engine/method/registry.h"
#include "engine/run/journal_names.h"
#include "engine/run/quantize.h"
#include "engine/text/text_bytes.h"

namespace quantd {
namespace {

// Windows of the calibration text that sensitivities are measured on: rankings settle with a few
// thousand tokens.
constexpr int64_t kMeasuredWindows = 16;
constexpr int kMostTrials = 4;
// How near to a budget in KL is near enough, from below.
constexpr double kNearEnough = 0.9;

// What the default scheme asks of auto; its defaults where it asks nothing.
Options AutoOptions(const QuantizeRequest& request) {
  Options options = FallbacksOf(FindMethod("auto")->options);
  options.Update(request.recipe.default_scheme.options);
  return options;
}

// The same request with every linear of method auto in one width.
QuantizeRequest Uniform(const QuantizeRequest& request, int bits) {
  QuantizeRequest uniform = request;
  SchemeRequest& scheme = uniform.recipe.default_scheme;
  scheme.method = AutoOptions(request).Text("base");
  scheme.options = BaseOptions(request.recipe.default_scheme.options);
  scheme.bits = bits;
  return uniform;
}

// Everything that it tells goes on but layers and files, which are of trials.
class TrialSink : public ProgressSink {
 public:
  explicit TrialSink(ProgressSink& sink) : sink_(sink) {}
  void OnProgress(const ProgressReport& report) override { sink_.OnProgress(report); }
  void OnLayer(const LayerReport& /*report*/) override {}
  void OnFile(const SealedFile& /*file*/) override {}
  void OnWarning(std::string_view /*text*/) override {}
  bool Cancelled() override { return sink_.Cancelled(); }

 private:
  ProgressSink& sink_;
};

class Chooser {
 public:
  Chooser(const QuantizeRequest& request, ProgressSink& sink)
      : request_(request), options_(AutoOptions(request)), sink_(sink) {}

  absl::Status PlanCandidates();
  absl::Status Measure();
  absl::StatusOr<Recipe> Choose();

 private:
  int64_t BitsOfBudget() const;
  absl::StatusOr<Recipe> ChooseForKl(double most_kl);
  Recipe RecipeOf(const Allocation& allocation) const;
  absl::StatusOr<double> KlOf(const Recipe& recipe);
  void Tell(const Allocation& allocation);

  const QuantizeRequest& request_;
  Options options_;
  ProgressSink& sink_;
  std::vector<std::unique_ptr<PlannedQuantization>> plans_;
  Sensitivity sensitivity_;
};

// Those widths that the method, the format and its loader take.
absl::Status Chooser::PlanCandidates() {
  absl::Status refused;
  for (const absl::string_view text : absl::StrSplit(options_.Text("widths"), '-')) {
    int bits = 0;
    if (!absl::SimpleAtoi(text, &bits)) continue;
    auto planned = MakePlan(Uniform(request_, bits));
    if (planned.ok()) {
      plans_.push_back(*std::move(planned));
    } else {
      refused = planned.status();
    }
  }
  if (plans_.size() >= 2) return absl::OkStatus();
  if (plans_.empty() && !refused.ok()) return refused;
  return MakeError(
      Reason::kRecipeInvalid, "nothing to choose from",
      Violation{
          .where = "recipe.default.method auto",
          .got = absl::StrCat(
              plans_.size(), " of the widths ", options_.Text("widths"), " fit ",
              request_.output.format.empty() ? "any format" : "format " + request_.output.format),
          .wanted = "at least two; format dequantized holds all"});
}

absl::Status Chooser::Measure() {
  std::vector<const PlannedQuantization*> plans;
  for (const auto& planned : plans_) plans.push_back(planned.get());
  QD_ASSIGN_OR_RETURN(sensitivity_, MeasureSensitivity(plans, kMeasuredWindows, sink_));
  if (!sensitivity_.units.empty()) return absl::OkStatus();
  return MakeError(Reason::kRecipeInvalid, "nothing to choose",
                   Violation{.where = "recipe",
                             .got = "every linear has bits of its own",
                             .wanted = "at least one linear of method auto"});
}

// What the units may take together.
int64_t Chooser::BitsOfBudget() const {
  if (const double bytes = options_.Number("budget_bytes"); bytes > 0) {
    return static_cast<int64_t>(bytes) * 8;
  }
  int64_t weights = 0;
  for (const Unit& unit : sensitivity_.units) weights += unit.weights;
  return static_cast<int64_t>(options_.Number("bits_per_weight") * static_cast<double>(weights));
}

// Overrides by name, the most common width as the default; before the user's own, which win.
Recipe Chooser::RecipeOf(const Allocation& allocation) const {
  std::map<int, int64_t> weights;
  for (size_t i = 0; i < allocation.candidate.size(); ++i) {
    weights[sensitivity_.bits[allocation.candidate[i]]] += sensitivity_.units[i].weights;
  }
  const auto most =
      std::max_element(weights.begin(), weights.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  Recipe recipe = Uniform(request_, most->first).recipe;
  std::vector<Override> chosen;
  for (size_t i = 0; i < allocation.candidate.size(); ++i) {
    const int bits = sensitivity_.bits[allocation.candidate[i]];
    if (bits == most->first) continue;
    for (const std::string& name : sensitivity_.units[i].names) {
      Override& entry = chosen.emplace_back();
      entry.match = name;
      entry.scheme.bits = bits;
    }
  }
  recipe.overrides.insert(recipe.overrides.begin(), chosen.begin(), chosen.end());
  return recipe;
}

void Chooser::Tell(const Allocation& allocation) {
  int64_t weights = 0;
  for (const Unit& unit : sensitivity_.units) weights += unit.weights;
  sink_.OnWarning(
      absl::StrCat("auto: ", sensitivity_.units.size(), " units, ",
                   static_cast<double>(allocation.storage_bits) / static_cast<double>(weights),
                   " bits per weight, predicted damage ", allocation.damage));
}

absl::StatusOr<double> Chooser::KlOf(const Recipe& recipe) {
  QuantizeRequest trial = request_;
  trial.recipe = recipe;
  trial.output_folder = request_.output_folder + "/.trial";
  trial.gate = {};
  trial.calibration.statistics_folder.clear();
  trial.calibration.save_statistics_folder.clear();
  QD_ASSIGN_OR_RETURN(const auto planned, MakePlan(trial));
  TrialSink quiet(sink_);
  const auto report = Quantize(*planned, quiet);
  QD_RETURN_IF_ERROR(RemoveTree(trial.output_folder));
  if (!report.ok()) return report.status();
  return report->evaluation->kl_mean;
}

// KL is taken to grow with the damage; each trial tells by how much.
absl::StatusOr<Recipe> Chooser::ChooseForKl(double most_kl) {
  Allocation allocation = AllocateBits(
      sensitivity_, (BitsOfBudget() > 0) ? BitsOfBudget() : std::numeric_limits<int64_t>::max());
  Allocation best = AllocateBits(sensitivity_, std::numeric_limits<int64_t>::max());
  double met = std::numeric_limits<double>::infinity();
  for (int trial = 0; trial < kMostTrials; ++trial) {
    QD_ASSIGN_OR_RETURN(const double kl, KlOf(RecipeOf(allocation)));
    sink_.OnWarning(absl::StrCat("auto: trial ", trial + 1, ", KL ", kl, " for at most ", most_kl));
    if (kl <= most_kl && allocation.storage_bits < best.storage_bits) {
      best = allocation;
      met = kl;
    }
    if (kl <= most_kl && kl >= kNearEnough * most_kl) break;
    const double allowed = allocation.damage * most_kl / std::max(kl, 1e-12);
    Allocation next = AllocateDamage(sensitivity_, allowed * (trial == 0 ? 1.0 : 0.97));
    if (next.candidate == allocation.candidate) break;
    allocation = std::move(next);
  }
  if (met > most_kl) {
    sink_.OnWarning(absl::StrCat("auto: the budget of KL ", most_kl,
                                 " was not met in the trials; the widest candidates are used"));
  }
  Tell(best);
  return RecipeOf(best);
}

absl::StatusOr<Recipe> Chooser::Choose() {
  if (const double most_kl = options_.Number("max_kl"); most_kl > 0) {
    return ChooseForKl(most_kl);
  }
  const Allocation allocation = AllocateBits(sensitivity_, BitsOfBudget());
  if (allocation.storage_bits > BitsOfBudget()) {
    return MakeError(
        Reason::kRecipeInvalid, "the budget is too small",
        Violation{.where = "recipe.default.options",
                  .got = absl::StrCat(BitsOfBudget() / 8, " bytes"),
                  .wanted = absl::StrCat("at least ", allocation.storage_bits / 8,
                                         " bytes, all in ", sensitivity_.bits.front(), " bits")});
  }
  Tell(allocation);
  return RecipeOf(allocation);
}

constexpr int64_t kMaxChoiceBytes = 64 << 20;

// What a choice depends on: all but where the result goes and how it is computed.
absl::StatusOr<Json> ChoiceKey(const QuantizeRequest& request) {
  QuantizeRequest asked = request;
  asked.output_folder.clear();
  // Known by their contents: an attempt on another worker has them in another folder.
  asked.model_folder.clear();
  asked.model_roots.clear();
  asked.calibration.text.clear();
  asked.evaluation.text.clear();
  asked.resources = {.backend = request.resources.backend, .compute = request.resources.compute};
  QD_ASSIGN_OR_RETURN(auto files, OpenModel(request.model_folder, {.roots = request.model_roots}));
  QD_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(files));
  QD_ASSIGN_OR_RETURN(const std::string model, checkpoint.Fingerprint());
  const auto digest = [&](const std::string& source) -> absl::StatusOr<std::string> {
    QD_ASSIGN_OR_RETURN(const TextBytes bytes, TextBytes::Open(source, request.model_roots));
    return bytes.Digest();
  };
  QD_ASSIGN_OR_RETURN(const std::string calibration, digest(request.calibration.text));
  QD_ASSIGN_OR_RETURN(const std::string evaluation, digest(request.evaluation.text));
  return Json{{"engine", QUANTD_VERSION},   {"isa", CpuKernels().isa},  {"model", model},
              {"calibration", calibration}, {"evaluation", evaluation}, {"request", ToJson(asked)}};
}

// Nothing where none is remembered, or another's.
std::optional<Recipe> RememberedChoice(const std::string& path, const Json& key) {
  const auto text = ReadFile(path, kMaxChoiceBytes);
  if (!text.ok()) return std::nullopt;
  const auto json = ParseJson(*text, path);
  if (!json.ok() || !json->is_object() || json->value("key", Json()) != key) return std::nullopt;
  auto recipe = RecipeFromJson(json->value("recipe", Json()));
  return recipe.ok() ? std::optional(*std::move(recipe)) : std::nullopt;
}

}  // namespace

bool AsksForAuto(const Recipe& recipe) { return recipe.default_scheme.method == "auto"; }

absl::StatusOr<Recipe> ChooseRecipe(const QuantizeRequest& request, ProgressSink& sink) {
  Chooser chooser(request, sink);
  QD_RETURN_IF_ERROR(chooser.PlanCandidates());
  QD_RETURN_IF_ERROR(chooser.Measure());
  return chooser.Choose();
}

absl::StatusOr<Recipe> ChooseRecipeOnce(const QuantizeRequest& request, const std::string& folder,
                                        ProgressSink& sink) {
  const std::string path = absl::StrCat(folder, "/", ToAbsl(kChoiceFile));
  QD_ASSIGN_OR_RETURN(const Json key, ChoiceKey(request));
  if (auto remembered = RememberedChoice(path, key)) return *std::move(remembered);
  QD_ASSIGN_OR_RETURN(Recipe recipe, ChooseRecipe(request, sink));
  QD_RETURN_IF_ERROR(MakeFolders(folder));
  const Json choice = {{"key", key}, {"recipe", ToJson(recipe)}};
  QD_RETURN_IF_ERROR(WriteFileAtomic(path, DumpJsonPretty(choice)).status());
  return recipe;
}

}  // namespace quantd
