#include "engine/plan/side_files.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "engine/types/recipe.h"

namespace quantd {
namespace {

// What engines read, as globs.
constexpr std::array<std::string_view, 24> kRead = {"generation_config.json",
                                                    "tokenizer*.json",
                                                    "tokenizer.model",
                                                    "tokenizer.model.v*",
                                                    "*.tiktoken",
                                                    "tekken.json",
                                                    "spiece.model",
                                                    "sentencepiece*.model",
                                                    "*.spm",
                                                    "special_tokens_map.json",
                                                    "added_tokens.json",
                                                    "vocab*.json",
                                                    "vocab*.txt",
                                                    "merges*.txt",
                                                    "normalizer.json",
                                                    "chat_template*",
                                                    "preprocessor_config.json",
                                                    "*_preprocessor_config.json",
                                                    "processor_config.json",
                                                    "*_processor_config.json",
                                                    "feature_extractor_config.json",
                                                    "config_sentence_transformers.json",
                                                    "sentence_*_config.json",
                                                    "modules.json"};
constexpr std::array<std::string_view, 2> kLegal = {"LICENSE*", "NOTICE*"};
// What a name like that may be read by an engine that we do not know of.
constexpr std::array<std::string_view, 10> kLikely = {
    "*.py",    "*.model", "*.jinja",  "*.vocab",   "*.bpe",
    "*token*", "*vocab*", "*merges*", "*process*", "*template*"};

bool MatchesAny(std::span<const std::string_view> globs, std::string_view name) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](std::string_view glob) { return GlobMatches(glob, name); });
}

bool NamesCode(const ModelFiles& files, const std::vector<std::string>& names) {
  constexpr int64_t kMostBytes = int64_t{64} << 20;
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    if (!name.ends_with("config.json")) return false;
    const auto text = files.ReadText(name, kMostBytes);
    return text.ok() && text->find("\"auto_map\"") != std::string::npos;
  });
}

}  // namespace

bool IsLegalFile(std::string_view name) { return MatchesAny(kLegal, name); }

absl::StatusOr<SideFiles> FindSideFiles(const ModelFiles& files) {
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List());
  const bool code = NamesCode(files, names);
  SideFiles found;
  for (const std::string& name : names) {
    const bool carried =
        MatchesAny(kRead, name) || IsLegalFile(name) || (code && name.ends_with(".py"));
    if (carried) {
      found.carried.push_back(name);
    } else if (MatchesAny(kLikely, name)) {
      found.left.push_back(name);
    }
  }
  return found;
}

}  // namespace quantd
