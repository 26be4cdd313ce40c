#include "engine/model/rope_config.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/model/config_reader.h"

namespace quantd {
namespace {

struct ScalingName {
  std::string_view name;
  RopeSpec::Scaling scaling;
};
constexpr ScalingName kScalings[] = {
    {"default", RopeSpec::Scaling::kNone},      {"linear", RopeSpec::Scaling::kLinear},
    {"llama3", RopeSpec::Scaling::kLlama3},     {"yarn", RopeSpec::Scaling::kYarn},
    {"longrope", RopeSpec::Scaling::kLongRope}, {"su", RopeSpec::Scaling::kLongRope}};

std::optional<RopeSpec::Scaling> ScalingByName(std::string_view name) {
  for (const ScalingName& row : kScalings) {
    if (row.name == name) return row.scaling;
  }
  return std::nullopt;
}

constexpr double kLowestTheta = 1.001, kHighestTheta = 1e15;
constexpr int64_t kMostPositions = int64_t{1} << 30;

// A positive number, or nothing when the key is not there or 0 (which transformers takes for "not
// set").
std::optional<double> Positive(JsonFields& fields, std::string_view key) {
  const double value = fields.Number(key, 0.0, 0.0, 1e6);
  return value > 0 ? std::optional<double>(value) : std::nullopt;
}

// One positive divisor per frequency.
std::vector<double> ReadFactors(JsonFields& fields, std::string_view key, int64_t count) {
  const Json* values = fields.Value(key);
  std::vector<double> factors;
  for (const Json& value : values != nullptr && values->is_array() ? *values : Json::array()) {
    const double factor = value.is_number() ? value.get<double>() : 0.0;
    if (factor >= 1e-3 && factor <= 1e6) factors.push_back(factor);
  }
  if (static_cast<int64_t>(factors.size()) != count) {
    fields.Wrong(key, std::to_string(factors.size()) + " positive numbers",
                 std::to_string(count) + " of them");
  }
  return factors;
}

// As transformers 5: a family's own field for the context of before goes first, and the factor is
// the ratio to it unless there is one.
void ReadLongRope(JsonFields& fields, JsonFields& top, int64_t max_positions,
                  const RopeTraits& traits, RopeSpec& rope) {
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  rope.original_max_positions =
      traits.original_max_positions.has_value()
          ? top.Integer(kOriginal, *traits.original_max_positions, 1, kMostPositions)
          : fields.Integer(kOriginal, max_positions, 1, kMostPositions);
  const double ratio =
      static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  rope.factor =
      fields.Value("factor") != nullptr ? fields.Number("factor", ratio, 1e-3, 1e6) : ratio;
  rope.short_factors = ReadFactors(fields, "short_factor", rope.dims / 2);
  rope.long_factors = ReadFactors(fields, "long_factor", rope.dims / 2);
  if (fields.Value("attention_factor") != nullptr) {
    rope.attention_factor = fields.Number("attention_factor", 1.0, 0.0, 1e6);
  }
}

void ReadScaling(JsonFields& fields, int64_t max_positions, RopeSpec& rope) {
  if (!fields.Has("factor")) fields.Wrong("factor", "nothing", "a number");
  rope.factor = fields.Number("factor", 1.0, 1e-3, 1e6);
  const int64_t original = fields.Integer("original_max_position_embeddings", 0, 0, kMostPositions);
  rope.original_max_positions = original > 0 ? original : max_positions;
  if (rope.scaling == RopeSpec::Scaling::kLlama3) {
    rope.low_freq_factor = fields.Number("low_freq_factor", 1.0, 1e-3, 1e6);
    rope.high_freq_factor = fields.Number("high_freq_factor", 4.0, 1e-3, 1e6);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      fields.Wrong("high_freq_factor", std::to_string(rope.high_freq_factor),
                   "more than low_freq_factor");
    }
  }
  if (rope.scaling == RopeSpec::Scaling::kYarn) {
    rope.beta_fast = Positive(fields, "beta_fast").value_or(32.0);
    rope.beta_slow = Positive(fields, "beta_slow").value_or(1.0);
    rope.mscale = Positive(fields, "mscale");
    rope.mscale_all_dim = Positive(fields, "mscale_all_dim");
    rope.truncate = fields.Bool("truncate", true);
    if (fields.Value("attention_factor") != nullptr) {
      rope.attention_factor = fields.Number("attention_factor", 1.0, 0.0, 1e6);
    }
  }
}

absl::Status Lacking(Violation violation) {
  return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                   std::move(violation));
}

// The key of config.json that holds the parameters.
std::string_view KeyOfParameters(JsonFields& top) {
  const Json* older = top.Value("rope_scaling");
  const Json* newer = top.Value("rope_parameters");
  for (const auto& [key, value] : {std::pair{"rope_scaling", older}, {"rope_parameters", newer}}) {
    if (value != nullptr && !value->is_object())
      top.Wrong(key, "another type", "an object or null");
  }
  const bool says_nothing = older == nullptr || !older->is_object() || older->empty();
  return says_nothing && newer != nullptr ? "rope_parameters" : "rope_scaling";
}

RopeSpec::Scaling ReadKind(JsonFields& fields, const std::string& path, const RopeTraits& traits,
                           std::vector<Violation>& unsupported) {
  const std::string kind = fields.String("rope_type", fields.String("type", "default"));
  if (kind == "mrope" && traits.multimodal) return RopeSpec::Scaling::kNone;
  if (fields.Has("full_attention") || fields.Has("sliding_attention")) {
    unsupported.push_back({path, "one entry per kind of attention", "one for all blocks"});
  }
  const std::optional<RopeSpec::Scaling> found = ScalingByName(kind);
  if (!found.has_value()) {
    unsupported.push_back(
        {path + ".rope_type", "\"" + kind + "\"", "default, linear, llama3, yarn or longrope"});
  }
  return found.value_or(RopeSpec::Scaling::kNone);
}

}  // namespace

absl::StatusOr<RopeSpec> ParseRope(const Json& config, int64_t head_dim, int64_t max_positions,
                                   std::vector<Violation>& unsupported, const RopeTraits& traits) {
  RopeSpec rope;
  JsonFields top(config, "config.json");
  const std::string key(KeyOfParameters(top));
  const double theta = top.Number("rope_theta", traits.theta, kLowestTheta, kHighestTheta);
  const double beside = top.Number("partial_rotary_factor", traits.partial_factor, 0.0, 1.0);
  QD_RETURN_IF_ERROR(top.FinishIgnoringUnknown());

  const Json none = Json::object();
  const Json* parameters = top.Value(key);
  const std::string path = "config.json:" + key;
  JsonFields fields(parameters != nullptr ? *parameters : none, path);
  rope.theta = fields.Number("rope_theta", theta, kLowestTheta, kHighestTheta);
  rope.interleaved = traits.interleaved;
  rope.scaling = ReadKind(fields, path, traits, unsupported);
  const double part = fields.Number("partial_rotary_factor", beside, 0.0, 1.0);
  if (part != 1.0 && !traits.partial) {
    unsupported.push_back({"config.json:partial_rotary_factor", "a part of the head", "1"});
  }
  // The product is rounded down as transformers rounds it.
  rope.dims = static_cast<int64_t>(static_cast<double>(head_dim) * part);
  if (rope.dims % 2 != 0 || rope.dims == 0) {
    top.Wrong("partial_rotary_factor", std::to_string(part), "an even part of the head");
  }
  if (rope.scaling == RopeSpec::Scaling::kLongRope) {
    ReadLongRope(fields, top, max_positions, traits, rope);
  } else if (rope.scaling != RopeSpec::Scaling::kNone) {
    ReadScaling(fields, max_positions, rope);
  }
  QD_RETURN_IF_ERROR(top.FinishIgnoringUnknown());
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return rope;
}

absl::StatusOr<Json> WithRopeOf(const Json& config, std::string_view kind, const RopeKinds& kinds) {
  const auto find = [&config](std::string_view key) -> const Json* {
    const auto found = config.find(key);
    return found == config.end() || found->is_null() ? nullptr : &*found;
  };
  const Json* newer = find("rope_parameters");
  const Json* older = find("rope_scaling");
  for (const Json* value : {newer, older}) {
    if (value != nullptr && !value->is_object()) return config;  // ParseRope says so
  }
  const bool for_all = newer != nullptr && !newer->empty() && !newer->contains("full_attention") &&
                       !newer->contains("sliding_attention");
  if (for_all) {
    return Lacking({"config.json:rope_parameters", "one rope for all blocks",
                    "full_attention and sliding_attention, a rope each"});
  }
  const bool full = kind == "full_attention";
  Json rope = Json::object();
  if (newer != nullptr && newer->contains(kind) && newer->at(kind).is_object()) {
    rope = newer->at(kind);
  }
  if (full && older != nullptr) rope.update(*older);
  if (!rope.contains("rope_theta")) {
    const Json* beside = find("rope_theta");
    const Json* own = full ? beside : find(kinds.sliding_theta_key);
    const double fallback = full ? kinds.full_theta : kinds.sliding_theta;
    // Here transformers 4 takes what stands beside, and transformers 5 the family's default.
    if (!full && kinds.sliding_theta_key.empty() && beside != nullptr && *beside != fallback) {
      return Lacking({"config.json:rope_theta", DumpJson(*beside),
                      "rope_parameters.sliding_attention.rope_theta: readers differ without it"});
    }
    rope["rope_theta"] = own != nullptr ? *own : Json(fallback);
  }
  Json changed = config;
  changed.erase("rope_scaling");
  changed["rope_parameters"] = std::move(rope);
  return changed;
}

absl::Status UseLocalRope(const Json& config, ModelSpec& model) {
  std::vector<Violation> unsupported;
  auto rope = ParseRope(config, model.head_dim, model.max_positions, unsupported);
  if (!rope.ok()) return CorruptConfig(rope.status());
  if (!unsupported.empty()) {
    return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                     std::move(unsupported));
  }
  model.local_rope = *std::move(rope);
  for (BlockSpec& block : model.blocks) block.local_rope = block.sliding_window.has_value();
  return absl::OkStatus();
}

}  // namespace quantd
