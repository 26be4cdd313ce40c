#include "engine/model/rope_config.h"

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
constexpr ScalingName kScalings[] = {{"default", RopeSpec::Scaling::kNone},
                                     {"linear", RopeSpec::Scaling::kLinear},
                                     {"llama3", RopeSpec::Scaling::kLlama3},
                                     {"yarn", RopeSpec::Scaling::kYarn}};

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

void ReadScaling(JsonFields& fields, int64_t max_positions, RopeSpec& rope) {
  if (rope.scaling == RopeSpec::Scaling::kNone) return;
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
                                   std::vector<Violation>& unsupported) {
  RopeSpec rope;
  rope.dims = head_dim;
  JsonFields top(config, "config.json");
  rope.theta = top.Number("rope_theta", rope.theta, kLowestTheta, kHighestTheta);
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
        {path + ".rope_type", "\"" + kind + "\"", "default, linear, llama3 or yarn"});
  }
  for (JsonFields* from : {&top, &fields}) {
    if (from->Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
      unsupported.push_back({"config.json:partial_rotary_factor", "a part of the head", "1"});
    }
  }
  rope.scaling = found.value_or(RopeSpec::Scaling::kNone);
  ReadScaling(fields, max_positions, rope);
  QD_RETURN_IF_ERROR(top.FinishIgnoringUnknown());
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return rope;
}

}  // namespace quantd
