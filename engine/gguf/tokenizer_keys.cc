#include "engine/gguf/tokenizer_keys.h"

#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/gguf/pre_tokenizer.h"
#include "engine/gguf/token_type.h"
#include "engine/tensor/stored_chat_template.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFileBytes = 256 << 20;

// The files beside the weights; an empty object for one that is not there.
struct Sources {
  Json tokenizer, settings, generation, config;
  std::string chat_template;
};

absl::StatusOr<Json> ReadJson(const ModelFiles& files, std::string_view name) {
  if (!files.Has(name)) return Json::object();
  QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(name, kMaxFileBytes));
  QD_ASSIGN_OR_RETURN(Json json, ParseJson(text, name));
  if (json.is_object()) return json;
  return MakeError(Reason::kModelCorrupt, "cannot read the tokenizer",
                   Violation{std::string(name), "no object", "an object"});
}

absl::StatusOr<Sources> ReadSources(const ModelFiles& files) {
  Sources sources;
  QD_ASSIGN_OR_RETURN(sources.tokenizer, ReadJson(files, "tokenizer.json"));
  QD_ASSIGN_OR_RETURN(sources.settings, ReadJson(files, "tokenizer_config.json"));
  QD_ASSIGN_OR_RETURN(sources.generation, ReadJson(files, "generation_config.json"));
  QD_ASSIGN_OR_RETURN(sources.config, ReadJson(files, "config.json"));
  // One that cannot be read is left out: the file is a model without it.
  const auto chat_template = StoredChatTemplate(files, sources.settings);
  if (chat_template.ok()) sources.chat_template = chat_template->value_or("");
  return sources;
}

struct Vocabulary {
  std::vector<std::string> tokens;  // by id
  std::vector<int32_t> types;
  std::unordered_map<std::string, int32_t> ids;

  std::optional<int32_t> Find(const std::string& token) const {
    const auto found = ids.find(token);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  }
};

bool IsByte(std::string_view token) {
  return token.size() == 6 && token.substr(0, 3) == "<0x" && token.back() == '>';
}

absl::Status BadToken(const std::string& token, const Json& id, int64_t size) {
  return MakeError(Reason::kModelCorrupt, "cannot read the tokenizer",
                   Violation{"tokenizer.json: " + token, DumpJson(id),
                             absl::StrCat("an id below the ", size, " rows of the embedding")});
}

absl::Status Place(const std::string& token, const Json& id, int32_t type, Vocabulary& to) {
  const auto size = static_cast<int64_t>(to.tokens.size());
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= size) {
    return BadToken(token, id, size);
  }
  const auto at = id.get<size_t>();
  to.tokens[at] = token;
  to.types[at] = type;
  to.ids[token] = static_cast<int32_t>(at);
  return absl::OkStatus();
}

absl::StatusOr<Vocabulary> ReadVocabulary(const Json& tokenizer, int64_t size) {
  const auto count = static_cast<size_t>(size);
  Vocabulary vocabulary = {
      std::vector<std::string>(count), std::vector<int32_t>(count, kUnusedToken), {}};
  const Json& model = tokenizer["model"];
  const std::string unknown = model.contains("unk_token") && model["unk_token"].is_string()
                                  ? model.value("unk_token", "")
                                  : "";
  const bool bytes = model.value("byte_fallback", false);
  for (const auto& [token, id] : model["vocab"].items()) {
    int32_t type = bytes && IsByte(token) ? kByteToken : kNormalToken;
    if (!unknown.empty() && token == unknown) type = kUnknownToken;
    QD_RETURN_IF_ERROR(Place(token, id, type, vocabulary));
  }
  const Json added = tokenizer.value("added_tokens", Json::array());
  for (const Json& entry : added) {
    const std::string token = entry.value("content", "");
    int32_t type = entry.value("special", false) ? kControlToken : kUserDefinedToken;
    if (!unknown.empty() && token == unknown) type = kUnknownToken;
    QD_RETURN_IF_ERROR(Place(token, entry.value("id", Json()), type, vocabulary));
  }
  for (size_t id = 0; id < count; ++id) {
    if (vocabulary.tokens[id].empty()) vocabulary.tokens[id] = absl::StrCat("[PAD", id, "]");
  }
  return vocabulary;
}

// "left right", as GGUF has merges.
absl::StatusOr<std::vector<std::string>> ReadMerges(const Json& model) {
  std::vector<std::string> merges;
  const Json list = model.value("merges", Json::array());
  for (const Json& merge : list) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      return MakeError(Reason::kModelCorrupt, "cannot read the tokenizer",
                       Violation{"tokenizer.json: merges", DumpJson(merge), "a pair of tokens"});
    }
  }
  return merges;
}

// Readers of "llama" tokenizers merge the pair whose result scores highest: the earlier a merge
// stands in the list, the higher.
std::vector<float> ScoresOf(const Vocabulary& vocabulary, const std::vector<std::string>& merges) {
  std::vector<float> scores(vocabulary.tokens.size(), -static_cast<float>(merges.size()));
  for (size_t id = 0; id < scores.size(); ++id) {
    if (vocabulary.types[id] != kNormalToken) scores[id] = 0;
  }
  for (size_t rank = merges.size(); rank > 0; --rank) {
    std::string token = merges[rank - 1];
    const size_t space = token.find(' ');
    if (space != std::string::npos) token.erase(space, 1);
    const auto id = vocabulary.Find(token);
    if (id.has_value()) scores[static_cast<size_t>(*id)] = -static_cast<float>(rank - 1);
  }
  return scores;
}

// Whether the template that wraps every text begins (or ends) with a special token; nothing where
// there is no template.
std::optional<bool> Wraps(const Json& post_processor, std::string_view side) {
  if (!post_processor.is_object()) return std::nullopt;
  const std::string type = post_processor.value("type", "");
  if (type == "Sequence") {
    const Json processors = post_processor.value("processors", Json::array());
    for (const Json& processor : processors) {
      if (const auto wraps = Wraps(processor, side); wraps.has_value()) return wraps;
    }
    return std::nullopt;
  }
  if (type != "TemplateProcessing") return std::nullopt;
  const Json single = post_processor.value("single", Json::array());
  if (single.empty()) return std::nullopt;
  const Json& end = side == "begin" ? single.front() : single.back();
  return end.is_object() && end.contains("SpecialToken");
}

bool AddsToken(const Sources& sources, std::string_view setting, std::string_view side) {
  const auto wraps = Wraps(sources.tokenizer.value("post_processor", Json()), side);
  if (wraps.has_value()) return *wraps;
  const auto found = sources.settings.find(std::string(setting));
  return found != sources.settings.end() && found->is_boolean() && found->get<bool>();
}

// "▁" before the first word.
bool AddsSpace(const Json& tokenizer) {
  const auto steps_of = [](const Json& step, const char* list) {
    return step.is_object() && step.value("type", "") == "Sequence"
               ? step.value(list, Json::array())
               : Json::array({step});
  };
  for (const Json& step : steps_of(tokenizer.value("normalizer", Json()), "normalizers")) {
    if (step.is_object() && step.value("type", "") == "Prepend") return true;
  }
  for (const Json& step : steps_of(tokenizer.value("pre_tokenizer", Json()), "pretokenizers")) {
    if (!step.is_object() || step.value("type", "") != "Metaspace") continue;
    const std::string scheme = step.value("prepend_scheme", "");
    return scheme.empty() ? step.value("add_prefix_space", true) : scheme != "never";
  }
  return false;
}

// The id of a special token: by its text in the settings, else by number in the configurations.
std::optional<int32_t> SpecialId(const Sources& sources, const Vocabulary& vocabulary,
                                 const std::string& name) {
  if (const auto found = sources.settings.find(name); found != sources.settings.end()) {
    const std::string text = found->is_object()   ? found->value("content", "")
                             : found->is_string() ? found->get<std::string>()
                                                  : "";
    if (const auto id = vocabulary.Find(text); id.has_value()) return id;
  }
  for (const Json* config : {&sources.generation, &sources.config}) {
    const auto found = config->find(name + "_id");
    if (found == config->end()) continue;
    const Json& id = found->is_array() && !found->empty() ? found->front() : *found;
    const auto size = static_cast<int64_t>(vocabulary.tokens.size());
    if (id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < size) {
      return id.get<int32_t>();
    }
  }
  return std::nullopt;
}

void AddSpecialTokens(const Sources& sources, const Vocabulary& vocabulary, KeyValues& keys) {
  constexpr std::pair<const char*, const char*> kSpecial[] = {{"bos_token", "bos"},
                                                              {"eos_token", "eos"},
                                                              {"unk_token", "unknown"},
                                                              {"pad_token", "padding"}};
  for (const auto& [name, key] : kSpecial) {
    const auto id = SpecialId(sources, vocabulary, name);
    if (!id.has_value()) continue;
    keys.AddU32(absl::StrCat("tokenizer.ggml.", key, "_token_id"), static_cast<uint32_t>(*id));
  }
  keys.AddBool("tokenizer.ggml.add_bos_token", AddsToken(sources, "add_bos_token", "begin"));
  keys.AddBool("tokenizer.ggml.add_eos_token", AddsToken(sources, "add_eos_token", "end"));
}

}  // namespace

absl::Status AddTokenizer(const ModelFiles& files, int64_t vocabulary_size, KeyValues& keys,
                          std::vector<std::string>& warnings) {
  QD_ASSIGN_OR_RETURN(const Sources sources, ReadSources(files));
  const Json model = sources.tokenizer.value("model", Json::object());
  const std::string type = model.value("type", "");
  if (type != "BPE" || !model.contains("vocab") || !model["vocab"].is_object()) {
    return MakeError(Reason::kModelUnsupported, "GGUF cannot hold the tokenizer",
                     Violation{"tokenizer.json: model.type", type.empty() ? "none" : type, "BPE"});
  }
  QD_ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                      ReadVocabulary(sources.tokenizer, vocabulary_size));
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> merges, ReadMerges(model));
  if (model.value("byte_fallback", false)) {
    keys.AddText("tokenizer.ggml.model", "llama");
    keys.AddText("tokenizer.ggml.pre", "default");
    keys.AddTexts("tokenizer.ggml.tokens", vocabulary.tokens);
    keys.AddF32s("tokenizer.ggml.scores", ScoresOf(vocabulary, merges));
    keys.AddI32s("tokenizer.ggml.token_type", vocabulary.types);
    keys.AddBool("tokenizer.ggml.add_space_prefix", AddsSpace(sources.tokenizer));
  } else {
    std::string_view pre = PreTokenizerName(sources.tokenizer.value("pre_tokenizer", Json()));
    if (pre.empty()) {
      warnings.emplace_back(
          "llama.cpp has no name for how this tokenizer cuts text: tokenizer.ggml.pre is "
          "\"default\", "
          "and the GGUF file may cut some texts into other tokens");
      pre = "default";
    }
    keys.AddText("tokenizer.ggml.model", "gpt2");
    keys.AddText("tokenizer.ggml.pre", pre);
    keys.AddTexts("tokenizer.ggml.tokens", vocabulary.tokens);
    keys.AddI32s("tokenizer.ggml.token_type", vocabulary.types);
    keys.AddTexts("tokenizer.ggml.merges", merges);
  }
  AddSpecialTokens(sources, vocabulary, keys);
  if (!sources.chat_template.empty()) {
    keys.AddText("tokenizer.chat_template", sources.chat_template);
  }
  return absl::OkStatus();
}

}  // namespace quantd
