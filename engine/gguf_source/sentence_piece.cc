#include "engine/gguf_source/sentence_piece.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "engine/gguf/token_type.h"

namespace quantd {
namespace {

constexpr const char* kSpace = "\u2581";

Json Replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

bool BeginsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }

int64_t Characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), BeginsCharacter);
}

struct Merge {
  std::string_view left, right;
  size_t left_id = 0, right_id = 0;
  double score = 0;
};

using Ids = std::unordered_map<std::string_view, size_t>;

// Each way to cut the token, by the ids of its parts.
void AddCuts(std::string_view token, double score, const Ids& ids, std::vector<Merge>& merges) {
  const auto first = static_cast<std::ptrdiff_t>(merges.size());
  for (size_t at = 1; at < token.size(); ++at) {
    if (!BeginsCharacter(token[at])) continue;
    const auto left = ids.find(token.substr(0, at)), right = ids.find(token.substr(at));
    if (left == ids.end() || right == ids.end()) continue;
    merges.push_back({left->first, right->first, left->second, right->second, score});
  }
  std::sort(merges.begin() + first, merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(a.left_id, a.right_id) < std::tie(b.left_id, b.right_id);
  });
}

}  // namespace

Json SentencePieceNormalizer(bool prefix) {
  if (!prefix) return Replace(" ", kSpace);
  return {{"type", "Sequence"},
          {"normalizers", {{{"type", "Prepend"}, {"prepend", kSpace}}, Replace(" ", kSpace)}}};
}

Json SentencePieceDecoder(bool prefix) {
  Json steps = Json::array({Replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

Json MergesByScore(std::span<const std::string> tokens, std::span<const int64_t> types,
                   std::span<const double> scores) {
  Ids ids;
  for (size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], id);
  std::vector<Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const bool merged = types[id] == kNormalToken || types[id] == kUserDefinedToken;
    if (merged) AddCuts(tokens[id], scores[id], ids, merges);
  }
  const auto rank = [](const Merge& merge) {
    return std::tuple(merge.score, Characters(merge.left), Characters(merge.right));
  };
  std::stable_sort(merges.begin(), merges.end(),
                   [&](const Merge& a, const Merge& b) { return rank(a) > rank(b); });
  Json list = Json::array();
  for (const Merge& merge : merges) {
    list.push_back({std::string(merge.left), std::string(merge.right)});
  }
  return list;
}

}  // namespace quantd
