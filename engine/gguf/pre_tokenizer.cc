#include "engine/gguf/pre_tokenizer.h"

#include <algorithm>
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

// Names that llama.cpp (llama-vocab.cpp) treats as another one's.
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"llama3", "llama-bpe"},    {"llama-v3", "llama-bpe"}, {"dbrx", "llama-bpe"},
    {"smaug-bpe", "llama-bpe"}, {"gpt2", "gpt-2"},         {"phi-2", "gpt-2"},
    {"mpt", "gpt-2"},           {"olmo", "gpt-2"},         {"starcoder", "smollm"},
    {"refact", "smollm"},       {"command-r", "smollm"},   {"codeshell", "smollm"},
    {"exaone", "smollm"},       {"stablelm2", "qwen2"},    {"deepseek-r1-qwen", "qwen2"},
};

// A step of StepsOf as tokenizer.json has it.
Json StepOf(std::string_view step) {
  constexpr std::string_view kSplit = "split ";
  if (step.starts_with(kSplit)) {
    return {{"type", "Split"},
            {"pattern", {{"Regex", std::string(step.substr(kSplit.size()))}}},
            {"behavior", "Isolated"},
            {"invert", false}};
  }
  if (step == "Punctuation") return {{"type", "Punctuation"}, {"behavior", "Contiguous"}};
  if (step == "gpt2") {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", true}};
  }
  return {{"type", "Digits"}, {"individual_digits", step == "digit"}};
}

// The steps of a text of StepsOf. Bytes become letters last, whatever cut the text before.
Json Sequence(std::string_view text) {
  constexpr std::string_view kBetween = " ; ";
  Json steps = Json::array();
  bool cuts_bytes = false;
  while (!text.empty()) {
    const std::string_view step = text.substr(0, text.find(kBetween));
    cuts_bytes = cuts_bytes || step == "gpt2";
    steps.push_back(StepOf(step));
    text.remove_prefix(std::min(text.size(), step.size() + kBetween.size()));
  }
  if (!cuts_bytes) {
    Json last = StepOf("gpt2");
    last["use_regex"] = false;
    steps.push_back(std::move(last));
  }
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

}  // namespace

std::optional<PreTokenizer> FindPreTokenizer(std::string_view name) {
  for (const auto& [other, known] : kOtherNames) {
    if (other == name) name = known;
  }
  for (const auto& [steps, known] : Names()) {
    if (known != name) continue;
    PreTokenizer found;
    found.steps = Sequence(steps);
    if (name == "qwen2") found.normalizer = {{"type", "NFC"}};
    found.ignores_merges = name == "llama-bpe" || name == "tekken";
    found.begins_text = name == "llama-bpe";
    return found;
  }
  return std::nullopt;
}

std::string_view PreTokenizerName(const Json& pre_tokenizer) {
  const std::string steps = StepsOf(pre_tokenizer);
  for (const auto& [pattern, name] : Names()) {
    if (pattern == steps) return name;
  }
  return "";
}

}  // namespace quantd
