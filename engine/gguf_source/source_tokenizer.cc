#include "engine/gguf_source/source_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/gguf/pre_tokenizer.h"
#include "engine/gguf/token_type.h"
#include "engine/gguf_source/sentence_piece.h"

namespace quantd {
namespace {

// "tokenizer.ggml.tokens"
std::string Key(std::string_view name) { return absl::StrCat("tokenizer.ggml.", ToAbsl(name)); }

absl::Status Corrupt(std::string_view key, std::string got, std::string wanted) {
  return MakeError(Reason::kModelCorrupt, "cannot read the tokenizer",
                   Violation{Key(key), std::move(got), std::move(wanted)});
}

absl::Status Unsupported(std::string_view key, std::string got, std::string wanted) {
  return MakeError(Reason::kModelUnsupported, "cannot read the tokenizer",
                   Violation{Key(key), std::move(got), std::move(wanted)});
}

// The items of the list under `key`, all of type T; none: there is no such key.
template <typename T>
absl::StatusOr<std::vector<T>> ReadList(const GgufHeader& header, std::string_view key) {
  std::vector<T> list;
  const auto found = header.metadata.find(Key(key));
  if (found == header.metadata.end()) return list;
  list.reserve(found->second.items.size());
  for (const GgufScalar& item : found->second.items) {
    const T* value = std::get_if<T>(&item);
    if (value == nullptr || found->second.type != GgufType::kArray) {
      return Corrupt(key, "another type", "a list");
    }
    list.push_back(*value);
  }
  return list;
}

struct Tokens {
  std::vector<std::string> texts;  // by id
  std::vector<int64_t> types;
  bool Has(std::optional<int64_t> id) const {
    return id.has_value() && *id >= 0 && *id < static_cast<int64_t>(texts.size());
  }
  // Ids without a token, which writers fill.
  bool IsPadding(size_t id) const {
    return types[id] == kUnusedToken && texts[id] == absl::StrCat("[PAD", id, "]");
  }
};

absl::StatusOr<Tokens> ReadTokens(const GgufHeader& header) {
  Tokens tokens;
  QD_ASSIGN_OR_RETURN(tokens.texts, ReadList<std::string>(header, "tokens"));
  QD_ASSIGN_OR_RETURN(tokens.types, ReadList<int64_t>(header, "token_type"));
  if (tokens.types.empty()) tokens.types.assign(tokens.texts.size(), kNormalToken);
  if (tokens.types.size() == tokens.texts.size()) return tokens;
  return Corrupt("token_type", absl::StrCat(tokens.types.size(), " values"),
                 absl::StrCat("one for each of ", tokens.texts.size(), " tokens"));
}

std::optional<int64_t> SpecialId(const GgufHeader& header, const Tokens& tokens,
                                 std::string_view name) {
  const auto id = header.Integer(absl::StrCat(Key(name), "_token_id"));
  return tokens.Has(id) ? id : std::nullopt;
}

bool Flag(const GgufHeader& header, std::string_view key, bool fallback) {
  const auto found = header.metadata.find(Key(key));
  if (found == header.metadata.end() || found->second.type != GgufType::kBool) return fallback;
  return std::get<bool>(found->second.items.front());
}

// What is appended to a text by rule.
struct Ends {
  std::optional<int64_t> begin, end;
};

Json AddedTokens(const Tokens& tokens) {
  Json added = Json::array();
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const int64_t type = tokens.types[id];
    if (type != kControlToken && type != kUnknownToken && type != kUserDefinedToken) continue;
    added.push_back({{"id", id},
                     {"content", tokens.texts[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != kUserDefinedToken}});
  }
  return added;
}

Json PostProcessor(const Tokens& tokens, const Ends& ends) {
  if (!ends.begin.has_value() && !ends.end.has_value()) return nullptr;
  Json special = Json::object(), single = Json::array(), pair = Json::array();
  const auto add = [&](std::optional<int64_t> id, int sequence) {
    if (!id.has_value()) return;
    const std::string& text = tokens.texts[static_cast<size_t>(*id)];
    special[text] = {{"id", text}, {"ids", {*id}}, {"tokens", {text}}};
    const Json entry = {{"SpecialToken", {{"id", text}, {"type_id", sequence}}}};
    if (sequence == 0) single.push_back(entry);
    pair.push_back(entry);
  };
  add(ends.begin, 0);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back(single.back());
  add(ends.end, 0);
  add(ends.begin, 1);
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  add(ends.end, 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

// Appended, not looked up: a look-up in an ordered object walks all of it.
absl::StatusOr<Json> VocabularyOf(const Tokens& tokens) {
  std::unordered_map<std::string_view, size_t> ids;
  Json vocabulary = Json::object();
  auto& entries = vocabulary.get_ref<Json::object_t&>();
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    if (tokens.IsPadding(id)) continue;
    const auto [first, is_new] = ids.emplace(tokens.texts[id], id);
    if (!is_new) {
      return Corrupt(
          "tokens",
          absl::StrCat("the token \"", tokens.texts[id], "\" as ", first->second, " and as ", id),
          "it once");
    }
    entries.push_back({tokens.texts[id], id});
  }
  return vocabulary;
}

// "left right" as a pair: neither has a space of its own.
absl::StatusOr<Json> ReadMerges(const GgufHeader& header) {
  QD_ASSIGN_OR_RETURN(const auto texts, ReadList<std::string>(header, "merges"));
  Json merges = Json::array();
  for (const std::string& text : texts) {
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos) return Corrupt("merges", text, "two tokens");
    merges.push_back({text.substr(0, space), text.substr(space + 1)});
  }
  return merges;
}

// The parts of tokenizer.json that the kind decides.
struct Kind {
  Json normalizer, pre_tokenizer, decoder, merges;
  bool fuses_unknown = false, falls_back_to_bytes = false, ignores_merges = false;
  std::string unknown;
  bool begins_text = false;
};

absl::StatusOr<Kind> ByteLevel(const GgufHeader& header) {
  const std::string pre = header.String(Key("pre")).value_or("nothing");
  std::optional<PreTokenizer> cutting = FindPreTokenizer(pre);
  if (!cutting.has_value()) {
    return Unsupported("pre", pre,
                       "a cutting that is known (llama-bpe, qwen2, gpt-2, smollm, falcon, tekken, "
                       "gpt-4o), or the model's own tokenizer.json beside the file");
  }
  Kind kind = {.normalizer = std::move(cutting->normalizer),
               .pre_tokenizer = std::move(cutting->steps),
               .decoder = {{"type", "ByteLevel"},
                           {"add_prefix_space", true},
                           {"trim_offsets", true},
                           {"use_regex", true}},
               .merges = nullptr,
               .ignores_merges = cutting->ignores_merges,
               .unknown = "",
               .begins_text = cutting->begins_text};
  QD_ASSIGN_OR_RETURN(kind.merges, ReadMerges(header));
  return kind;
}

absl::StatusOr<Kind> SentencePiece(const GgufHeader& header, const Tokens& tokens) {
  QD_ASSIGN_OR_RETURN(const std::vector<double> scores, ReadList<double>(header, "scores"));
  if (scores.size() != tokens.texts.size()) {
    return Corrupt("scores", absl::StrCat(scores.size(), " values"),
                   absl::StrCat("one for each of ", tokens.texts.size(), " tokens"));
  }
  const bool prefix = Flag(header, "add_space_prefix", true);
  const auto unknown = SpecialId(header, tokens, "unknown");
  return Kind{.normalizer = SentencePieceNormalizer(prefix),
              .pre_tokenizer = nullptr,
              .decoder = SentencePieceDecoder(prefix),
              .merges = MergesByScore(tokens.texts, tokens.types, scores),
              .fuses_unknown = true,
              .falls_back_to_bytes = true,
              .unknown = unknown.has_value() ? tokens.texts[static_cast<size_t>(*unknown)] : "",
              .begins_text = true};
}

absl::StatusOr<Kind> ReadKind(const GgufHeader& header, const Tokens& tokens) {
  const std::string model = header.String(Key("model")).value_or("nothing");
  if (model == "gpt2") return ByteLevel(header);
  if (model == "llama") return SentencePiece(header, tokens);
  return Unsupported("model", model,
                     "gpt2 or llama, or the model's own tokenizer.json beside the file");
}

absl::StatusOr<Json> TokenizerJson(const Tokens& tokens, const Kind& kind, const Ends& ends) {
  QD_ASSIGN_OR_RETURN(Json vocabulary, VocabularyOf(tokens));
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", AddedTokens(tokens)},
              {"normalizer", kind.normalizer},
              {"pre_tokenizer", kind.pre_tokenizer},
              {"post_processor", PostProcessor(tokens, ends)},
              {"decoder", kind.decoder},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", kind.unknown.empty() ? Json(nullptr) : Json(kind.unknown)},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", kind.fuses_unknown},
                {"byte_fallback", kind.falls_back_to_bytes},
                {"ignore_merges", kind.ignores_merges},
                {"vocab", std::move(vocabulary)},
                {"merges", kind.merges}}}};
}

Json Settings(const GgufHeader& header, const Tokens& tokens, const Ends& ends) {
  Json settings = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                   {"clean_up_tokenization_spaces", false},
                   {"add_bos_token", ends.begin.has_value()},
                   {"add_eos_token", ends.end.has_value()}};
  constexpr std::pair<const char*, const char*> kSpecial[] = {{"bos", "bos_token"},
                                                              {"eos", "eos_token"},
                                                              {"unknown", "unk_token"},
                                                              {"padding", "pad_token"}};
  for (const auto& [key, name] : kSpecial) {
    const auto id = SpecialId(header, tokens, key);
    if (id.has_value()) settings[name] = tokens.texts[static_cast<size_t>(*id)];
  }
  const auto chat = header.String("tokenizer.chat_template");
  if (chat.has_value()) settings["chat_template"] = *chat;
  return settings;
}

// Generation ends with the end of a text, and of a turn.
Json Generation(const GgufHeader& header, const Tokens& tokens) {
  Json generation = Json::object();
  if (const auto id = SpecialId(header, tokens, "bos"); id) generation["bos_token_id"] = *id;
  if (const auto id = SpecialId(header, tokens, "padding"); id) generation["pad_token_id"] = *id;
  const auto end = SpecialId(header, tokens, "eos"), turn = SpecialId(header, tokens, "eot");
  if (end && turn && *end != *turn) {
    generation["eos_token_id"] = {*end, *turn};
  } else if (end || turn) {
    generation["eos_token_id"] = end ? *end : *turn;
  }
  return generation;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> TokenizerFiles(const GgufHeader& header) {
  std::map<std::string, std::string> files;
  QD_ASSIGN_OR_RETURN(const Tokens tokens, ReadTokens(header));
  if (tokens.texts.empty()) return files;
  QD_ASSIGN_OR_RETURN(const Kind kind, ReadKind(header, tokens));
  Ends ends;
  if (Flag(header, "add_bos_token", kind.begins_text))
    ends.begin = SpecialId(header, tokens, "bos");
  if (Flag(header, "add_eos_token", false)) ends.end = SpecialId(header, tokens, "eos");
  QD_ASSIGN_OR_RETURN(const Json tokenizer, TokenizerJson(tokens, kind, ends));
  files["tokenizer.json"] = DumpJson(tokenizer);
  files["tokenizer_config.json"] = DumpJsonPretty(Settings(header, tokens, ends));
  files["generation_config.json"] = DumpJsonPretty(Generation(header, tokens));
  return files;
}

}  // namespace quantd
