#include "engine/gguf_source/metadata.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace quantd {

double ShortestDecimal(double value) {
  char text[32];
  const auto written = std::to_chars(text, text + sizeof(text), static_cast<float>(value));
  double read = value;
  std::from_chars(text, written.ptr, read);
  return read;
}

const GgufValue* Metadata::Find(std::string_view key) {
  const auto [name, added] = known_.insert(prefix_ + std::string(key));
  const auto found = header_.metadata.find(*name);
  return found == header_.metadata.end() ? nullptr : &found->second;
}

void Metadata::Missing(std::string_view tensor) {
  wrong_.push_back({std::string(tensor), "no such tensor", "the tensor"});
}

void Metadata::Wrong(std::string_view key, std::string got, std::string wanted) {
  wrong_.push_back({prefix_ + std::string(key), std::move(got), std::move(wanted)});
}

void Metadata::Unsupported(std::string_view key, std::string got, std::string wanted) {
  unsupported_.push_back({prefix_ + std::string(key), std::move(got), std::move(wanted)});
}

std::optional<int64_t> Metadata::OptionalSize(std::string_view key) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::kArray) {
    Unsupported(key, "a list", "one number: blocks are alike");
    return std::nullopt;
  }
  const std::optional<int64_t> number = header_.Integer(prefix_ + std::string(key));
  if (number.has_value() && *number >= 0) return number;
  Wrong(key, "another value", "a whole number");
  return std::nullopt;
}

int64_t Metadata::Size(std::string_view key) {
  const size_t before = wrong_.size() + unsupported_.size();
  const std::optional<int64_t> number = OptionalSize(key);
  if (number.value_or(0) > 0) return *number;
  if (wrong_.size() + unsupported_.size() == before) {
    Wrong(key, number.has_value() ? "0" : "nothing", "a number above 0");
  }
  return 1;
}

std::optional<double> Metadata::OptionalNumber(std::string_view key) {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const double* number =
      value->type == GgufType::kArray ? nullptr : std::get_if<double>(&value->items.front());
  if (number != nullptr && std::isfinite(*number)) {
    return value->type == GgufType::kF32 ? ShortestDecimal(*number) : *number;
  }
  Wrong(key, "another value", "a finite number");
  return std::nullopt;
}

std::optional<std::string> Metadata::OptionalText(std::string_view key) {
  if (Find(key) == nullptr) return std::nullopt;
  std::optional<std::string> text = header_.String(prefix_ + std::string(key));
  if (!text.has_value()) Wrong(key, "another value", "text");
  return text;
}

absl::Status Metadata::Finish() {
  for (const auto& [key, value] : header_.metadata) {
    if (!key.starts_with(prefix_) || known_.contains(key)) continue;
    unsupported_.push_back(
        {key, "a key that is not known", "none: it may change what the model computes"});
  }
  if (!wrong_.empty()) {
    return MakeError(Reason::kModelCorrupt, "bad metadata of a GGUF file", std::move(wrong_));
  }
  if (unsupported_.empty()) return absl::OkStatus();
  return MakeError(Reason::kModelUnsupported, "GGUF models of this kind are not read",
                   std::move(unsupported_));
}

}  // namespace quantd
