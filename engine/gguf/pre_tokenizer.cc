#include "engine/gguf/pre_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

// What a list of cutting steps amounts to, as text: a Split by its pattern, the others by name.
// Pieces of digits and the pattern that GPT-2 cuts with are steps of their own.
std::string StepsOf(const Json& pre_tokenizer) {
  if (!pre_tokenizer.is_object()) return "";
  std::string type = pre_tokenizer.value("type", "");
  if (type == "Sequence") {
    std::string steps;
    const Json members = pre_tokenizer.value("pretokenizers", Json::array());
    for (const Json& member : members) {
      const std::string step = StepsOf(member);
      if (!step.empty()) absl::StrAppend(&steps, steps.empty() ? "" : " ; ", step);
    }
    return steps;
  }
  if (type == "ByteLevel") return pre_tokenizer.value("use_regex", true) ? "gpt2" : "";
  if (type == "Digits") {
    return pre_tokenizer.value("individual_digits", false) ? "digit" : "digits";
  }
  if (type == "Split") {
    const Json pattern = pre_tokenizer.value("pattern", Json::object());
    return "split " + pattern.value("Regex", pattern.value("String", ""));
  }
  return type;
}

constexpr std::string_view kContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
constexpr std::string_view kWords = R"(|[^\r\n\p{L}\p{N}]?\p{L}+)";
constexpr std::string_view kRest = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kRestWithSlash =
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kUpperLower =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)";
constexpr std::string_view kUppersLower =
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)";

std::string Join(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text.append(part);
  return text;
}

const std::vector<std::pair<std::string, std::string_view>>& Names() {
  static const std::vector<std::pair<std::string, std::string_view>> names = {
      {"gpt2", "gpt-2"},
      {"digit ; gpt2", "smollm"},
      {"Punctuation ; gpt2 ; digits ; split [0-9][0-9][0-9]", "falcon"},
      {Join({"split ", kContractions, kWords, R"(|\p{N}{1,3})", kRest}), "llama-bpe"},
      {Join({"split ", kContractions, kWords, R"(|\p{N})", kRest}), "qwen2"},
      {Join({"split ", kUpperLower, kUppersLower, R"(|\p{N})", kRestWithSlash}), "tekken"},
      {Join({"split ", kUpperLower, kContractions, "?", kUppersLower, kContractions, "?",
             R"(|\p{N}{1,3})", kRestWithSlash}),
       "gpt-4o"},
  };
  return names;
}

}  // namespace

std::string_view PreTokenizerName(const Json& pre_tokenizer) {
  const std::string steps = StepsOf(pre_tokenizer);
  for (const auto& [pattern, name] : Names()) {
    if (pattern == steps) return name;
  }
  return "";
}

}  // namespace quantd
