#include "engine/model/rope_config.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

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

// As transformers: the context of before comes from the top of the config, and the factor from it.
void ReadLongRope(JsonFields& fields, JsonFields& top, int64_t max_positions,
                  const RopeTraits& traits, RopeSpec& rope) {
  const int64_t fallback = traits.original_max_positions.value_or(max_positions);
  const int64_t inside =
      fields.Integer("original_max_position_embeddings", fallback, 1, kMostPositions);
  rope.original_max_positions =
      top.Integer("original_max_position_embeddings", inside, 1, kMostPositions);
  rope.factor =
      static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
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

}  // namespace

absl::StatusOr<RopeSpec> ParseRope(const Json& config, int64_t head_dim, int64_t max_positions,
                                   std::vector<Violation>& unsupported, const RopeTraits& traits) {
  RopeSpec rope;
  JsonFields top(config, "config.json");
  rope.theta = top.Number("rope_theta", traits.theta, kLowestTheta, kHighestTheta);
  const bool newer = top.Value("rope_parameters") != nullptr;
  const std::string_view key = newer ? "rope_parameters" : "rope_scaling";
  const Json* scaling = top.Value(key);
  if (scaling != nullptr && !scaling->is_object())
    top.Wrong(key, "another type", "an object or null");
  QD_RETURN_IF_ERROR(top.FinishIgnoringUnknown());

  const Json none = Json::object();
  const std::string path = "config.json:" + std::string(key);
  JsonFields fields(scaling != nullptr ? *scaling : none, path);
  if (newer) rope.theta = fields.Number("rope_theta", rope.theta, kLowestTheta, kHighestTheta);
  const std::string kind = fields.String("rope_type", fields.String("type", "default"));
  if (fields.Has("full_attention") || fields.Has("sliding_attention")) {
    unsupported.push_back({path, "one entry per kind of attention", "one for all blocks"});
  }
  const std::optional<RopeSpec::Scaling> found = ScalingByName(kind);
  if (!found.has_value()) {
    unsupported.push_back(
        {path + ".rope_type", "\"" + kind + "\"", "default, linear, llama3, yarn or longrope"});
  }
  double part = 1.0;
  for (JsonFields* from : {&top, &fields}) {
    part = std::min(part, from->Number("partial_rotary_factor", 1.0, 0.0, 1.0));
  }
  if (part != 1.0 && !traits.partial) {
    unsupported.push_back({"config.json:partial_rotary_factor", "a part of the head", "1"});
  }
  // The product is rounded down as transformers rounds it.
  rope.dims = static_cast<int64_t>(static_cast<double>(head_dim) * part);
  if (rope.dims % 2 != 0 || rope.dims == 0) {
    top.Wrong("partial_rotary_factor", std::to_string(part), "an even part of the head");
  }
  rope.scaling = found.value_or(RopeSpec::Scaling::kNone);
  if (rope.scaling == RopeSpec::Scaling::kLongRope) {
    ReadLongRope(fields, top, max_positions, traits, rope);
  } else if (rope.scaling != RopeSpec::Scaling::kNone) {
    ReadScaling(fields, max_positions, rope);
  }
  QD_RETURN_IF_ERROR(top.FinishIgnoringUnknown());
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return rope;
}

}  // namespace quantd
