#include "engine/gguf_source/source_rope.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/model_keys.h"

namespace quantd {
namespace {

constexpr double kDefaultTheta = 10000.0, kDefaultLocalTheta = 10000.0;

// The divisors of the frequencies under that name; nothing: there is no such tensor.
absl::StatusOr<std::optional<std::vector<float>>> ReadFactors(std::span<const GgufPart> parts,
                                                              std::string_view name,
                                                              int64_t count) {
  const PlacedTensor found = FindTensor(parts, name);
  if (found.tensor == nullptr) return std::nullopt;
  const GgufTensor& tensor = *found.tensor;
  if (tensor.type != 0 || tensor.elements() != count) {
    return MakeError(Reason::kModelCorrupt, "bad divisors of rotary frequencies",
                     Violation{absl::StrCat(found.part->name, ":", tensor.name),
                               absl::StrCat(tensor.elements(), " values of type ", tensor.type),
                               absl::StrCat(count, " of type 0 (F32)")});
  }
  std::vector<float> factors(static_cast<size_t>(count));
  QD_RETURN_IF_ERROR(
      found.part->file->Read(tensor.offset, std::as_writable_bytes(std::span(factors))));
  const auto usable = [](float value) { return std::isfinite(value) && value > 0; };
  if (std::all_of(factors.begin(), factors.end(), usable)) return factors;
  return MakeError(Reason::kModelCorrupt, "bad divisors of rotary frequencies",
                   Violation{absl::StrCat(found.part->name, ":", tensor.name),
                             "a value that is not above 0", "finite numbers above 0"});
}

Json Decimals(const std::vector<float>& values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(ShortestDecimal(value));
  return list;
}

// Whether two computations of the same divisors agree; theta went through 32 bits.
bool SameFactors(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::abs(x - y) <= 1e-5F * std::max(std::abs(x), std::abs(y));
  });
}

// The llama3 scaling that gives these divisors.
std::optional<RopeSpec> FindLlama3(const std::vector<float>& factors, double theta) {
  RopeSpec rope;
  rope.theta = theta;
  rope.dims = 2 * static_cast<int64_t>(factors.size());
  rope.scaling = RopeSpec::Scaling::kLlama3;
  rope.factor = ShortestDecimal(*std::max_element(factors.begin(), factors.end()));
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  // The usual context first: where no frequency is between the limits, several give the same.
  std::vector<int64_t> contexts = {8192};
  for (int64_t context = 1 << 20; context >= 16; context /= 2) contexts.push_back(context);
  for (const int64_t context : contexts) {
    rope.original_max_positions = context;
    if (SameFactors(RopeFactors(rope)[0].values, factors)) return rope;
  }
  return std::nullopt;
}

Json Llama3Scaling(const RopeSpec& rope) {
  return {{"rope_type", "llama3"},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_freq_factor},
          {"high_freq_factor", rope.high_freq_factor},
          {"original_max_position_embeddings", rope.original_max_positions}};
}

// Divisors that no formula of ours gives, as they are.
Json PlainDivisors(const std::vector<float>& factors, int64_t positions) {
  return {{"rope_type", "longrope"},           {"factor", 1.0},
          {"attention_factor", 1.0},           {"original_max_position_embeddings", positions},
          {"short_factor", Decimals(factors)}, {"long_factor", Decimals(factors)}};
}

class RopeWriter {
 public:
  RopeWriter(Metadata& metadata, std::span<const GgufPart> parts, Json& config)
      : metadata_(metadata), parts_(parts), config_(config) {}

  absl::Status Run(const GgufArchitecture& architecture) {
    theta_ = metadata_.OptionalNumber("rope.freq_base").value_or(kDefaultTheta);
    config_["rope_theta"] = theta_;
    const auto head_dim = config_["head_dim"].get<int64_t>();
    dims_ = metadata_.OptionalSize("rope.dimension_count").value_or(head_dim);
    AddPart(head_dim);
    if (architecture.family == "gemma3_text") {
      config_["rope_local_base_freq"] =
          metadata_.OptionalNumber("rope.freq_base_swa").value_or(kDefaultLocalTheta);
    }
    AddScaling();
    return architecture.name == "phi3" ? AddLongRope() : AddDivisors();
  }

 private:
  void AddPart(int64_t head_dim) {
    if (dims_ == head_dim) return;
    const double part = static_cast<double>(dims_) / static_cast<double>(head_dim);
    config_["partial_rotary_factor"] = part;
    // Readers of config.json round the product down.
    if (static_cast<int64_t>(static_cast<double>(head_dim) * part) != dims_ || part > 1) {
      metadata_.Unsupported("rope.dimension_count", absl::StrCat(dims_),
                            absl::StrCat("a part of the head's ", head_dim));
    }
  }

  void AddScaling() {
    const std::string type = metadata_.OptionalText("rope.scaling.type").value_or("none");
    const auto factor = metadata_.OptionalNumber("rope.scaling.factor");
    original_ = metadata_.OptionalSize("rope.scaling.original_context_length").value_or(0);
    attention_ = metadata_.OptionalNumber("rope.scaling.attn_factor");
    metadata_.Ignore("rope.scaling.finetuned");
    if (type == "linear") {
      config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor.value_or(1.0)}};
    } else if (type == "yarn") {
      AddYarn(factor.value_or(1.0));
    } else if (type != "none" && type != "longrope") {
      metadata_.Unsupported("rope.scaling.type", type, "none, linear, yarn or longrope");
    } else if (factor.value_or(1.0) != 1.0) {
      metadata_.Unsupported("rope.scaling.factor", absl::StrCat(*factor), "a type of scaling");
    }
  }

  void AddYarn(double factor) {
    Json yarn = {{"rope_type", "yarn"}, {"factor", factor}};
    if (original_ > 0) yarn["original_max_position_embeddings"] = original_;
    // Readers of the file multiply by 1 + ln(factor) / 10 themselves.
    if (attention_.has_value()) {
      yarn["attention_factor"] = *attention_ * (1.0 + 0.1 * std::log(factor));
    }
    const std::pair<const char*, const char*> kRamp[] = {{"yarn_beta_fast", "beta_fast"},
                                                         {"yarn_beta_slow", "beta_slow"}};
    for (const auto& [key, name] : kRamp) {
      const auto value = metadata_.OptionalNumber(absl::StrCat("rope.scaling.", key));
      if (value.has_value()) yarn[name] = *value;
    }
    config_["rope_scaling"] = std::move(yarn);
  }

  absl::Status AddDivisors() {
    QD_ASSIGN_OR_RETURN(const auto factors, ReadFactors(parts_, "rope_freqs.weight", dims_ / 2));
    if (!factors.has_value()) return absl::OkStatus();
    const auto plain = [](float value) { return value == 1; };
    if (std::all_of(factors->begin(), factors->end(), plain)) return absl::OkStatus();
    const std::optional<RopeSpec> llama3 = FindLlama3(*factors, theta_);
    config_["rope_scaling"] =
        llama3.has_value()
            ? Llama3Scaling(*llama3)
            : PlainDivisors(*factors, config_["max_position_embeddings"].get<int64_t>());
    return absl::OkStatus();
  }

  absl::Status AddLongRope() {
    QD_ASSIGN_OR_RETURN(const auto far, ReadFactors(parts_, "rope_factors_long.weight", dims_ / 2));
    QD_ASSIGN_OR_RETURN(const auto near,
                        ReadFactors(parts_, "rope_factors_short.weight", dims_ / 2));
    if (!far.has_value() || !near.has_value()) return absl::OkStatus();
    const auto positions = config_["max_position_embeddings"].get<int64_t>();
    if (original_ == 0) original_ = positions;
    config_["original_max_position_embeddings"] = original_;
    // The library wants these three keys and, unless needed, no other.
    Json scaling = {
        {"type", "longrope"}, {"short_factor", Decimals(*near)}, {"long_factor", Decimals(*far)}};
    const double factor = static_cast<double>(positions) / static_cast<double>(original_);
    const double usual =
        factor <= 1 ? 1.0
                    : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_)));
    if (std::abs(attention_.value_or(usual) - usual) > 1e-5) {
      scaling["attention_factor"] = *attention_;
    }
    config_["rope_scaling"] = std::move(scaling);
    return absl::OkStatus();
  }

  Metadata& metadata_;
  const std::span<const GgufPart> parts_;
  Json& config_;
  double theta_ = kDefaultTheta;
  int64_t dims_ = 0;
  int64_t original_ = 0;
  std::optional<double> attention_;
};

}  // namespace

absl::Status AddRope(const GgufArchitecture& architecture, Metadata& metadata,
                     std::span<const GgufPart> parts, Json& config) {
  return RopeWriter(metadata, parts, config).Run(architecture);
}

}  // namespace quantd
