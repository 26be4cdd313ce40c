#include "engine/tensor/config_json.h"

#include <algorithm>
#include <array>
#include <string>

namespace quantd {
namespace {

constexpr std::array<std::string_view, 3> kWords = {"-Infinity", "Infinity", "NaN"};

// The end of the string that begins at `begin`.
size_t EndOfString(std::string_view text, size_t begin) {
  size_t end = begin + 1;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  return std::min(end + 1, text.size());
}

}  // namespace

absl::StatusOr<Json> ParseConfigJson(std::string_view text, std::string_view what) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '"') {
      const size_t end = EndOfString(text, at);
      plain.append(text.substr(at, end - at));
      at = end;
      continue;
    }
    const auto word = std::find_if(kWords.begin(), kWords.end(), [&](std::string_view candidate) {
      return text.substr(at, candidate.size()) == candidate;
    });
    if (word == kWords.end()) {
      plain += text[at++];
      continue;
    }
    plain.append("{\"__float__\": \"").append(*word).append("\"}");
    at += word->size();
  }
  return ParseJson(plain, what);
}

}  // namespace quantd
