#include "engine/gguf_source/gguf_model.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/gguf_source/shown_weights.h"
#include "engine/gguf_source/source_config.h"
#include "engine/gguf_source/source_tokenizer.h"
#include "engine/model/registry.h"

namespace quantd {
namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.json";
constexpr const char* kTokenizer = "tokenizer.json";

class GgufModel : public ModelFiles {
 public:
  struct Contents {
    std::string location;
    std::map<std::string, std::string, std::less<>> texts;  // made from the metadata, by name
    std::shared_ptr<const ShownTensors> weights;
    StoredWeights stored;
    std::set<std::string, std::less<>> beside;  // of `files`, seen as they are
  };

  GgufModel(std::shared_ptr<const ModelFiles> files, Contents contents)
      : files_(std::move(files)), contents_(std::move(contents)) {}

  const std::string& location() const override { return contents_.location; }
  std::optional<StoredWeights> stored() const override { return contents_.stored; }

  absl::StatusOr<std::vector<std::string>> List() const override {
    std::set<std::string> names(contents_.beside.begin(), contents_.beside.end());
    for (const auto& [name, text] : contents_.texts) names.insert(name);
    names.insert(kWeights);
    return std::vector<std::string>(names.begin(), names.end());
  }

  bool Has(std::string_view name) const override {
    return name == kWeights || contents_.texts.contains(name) || contents_.beside.contains(name);
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckName(name));
    if (name == kWeights) return quantd::Open(contents_.weights);
    const auto text = contents_.texts.find(name);
    if (text != contents_.texts.end()) {
      return ShowText(Where(name), text->second);
    }
    if (contents_.beside.contains(name)) return files_->Open(name);
    return NoSuchFile(name);
  }

 private:
  const std::shared_ptr<const ModelFiles> files_;
  const Contents contents_;
};

absl::StatusOr<std::vector<GgufPart>> OpenParts(const ModelFiles& files, const std::string& name) {
  std::vector<Violation> problems;
  QD_ASSIGN_OR_RETURN(std::vector<GgufPart> parts,
                      OpenGgufParts(files, name, [&](std::string where, std::string text) {
                        problems.push_back({std::move(where), std::move(text), "a whole model"});
                      }));
  if (!problems.empty()) {
    return MakeError(Reason::kModelCorrupt, "cannot read the GGUF model", std::move(problems));
  }
  return parts;
}

// "GGUF, Q4_1 and F32" where any tensor is stored in blocks.
StoredWeights Describe(const std::vector<ShownTensor>& tensors) {
  std::set<std::string_view> types;
  StoredWeights stored;
  bool quantized = false;
  for (const ShownTensor& tensor : tensors) {
    stored.bytes += tensor.type->RowBytes(tensor.info.elements());
    if (tensor.info.shape.size() >= 2) types.insert(tensor.type->name);
    quantized = quantized || tensor.type->layout != nullptr;
  }
  if (!quantized) return stored;
  stored.quantized_as = "GGUF, " + absl::StrJoin(types, ", ", [](std::string* out, auto type) {
                          absl::StrAppend(out, ToAbsl(type));
                        });
  return stored;
}

// Files that go with the model: all but weights and what the metadata say better.
std::set<std::string, std::less<>> FilesBeside(const std::vector<std::string>& names) {
  std::set<std::string, std::less<>> beside;
  for (const std::string& name : names) {
    const bool weights = name.ends_with(".gguf") || name.starts_with(kWeights);
    if (!weights && name != kConfig) beside.insert(name);
  }
  return beside;
}

absl::StatusOr<ModelSpec> SpecOf(const Json& config) {
  const Family* family = FindFamily(config["model_type"].get<std::string>());
  return family->parse(config);
}

// Every token has a row of the embedding.
absl::Status CheckTokens(const GgufHeader& header, const ModelSpec& model) {
  const int64_t tokens = header.Length("tokenizer.ggml.tokens").value_or(0);
  if (tokens <= model.vocabulary) return absl::OkStatus();
  return MakeError(
      Reason::kModelCorrupt, "bad metadata of a GGUF file",
      Violation{"tokenizer.ggml.tokens", absl::StrCat(tokens, " tokens"),
                absl::StrCat("at most the ", model.vocabulary, " rows of the embedding")});
}

// Ends of texts that config.json repeats.
void AddTokenIds(const GgufHeader& header, Json& config) {
  for (const char* end : {"bos", "eos"}) {
    const auto id = header.Integer(absl::StrCat("tokenizer.ggml.", end, "_token_id"));
    if (id.has_value()) config[absl::StrCat(end, "_token_id")] = *id;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowGgufModel(
    std::shared_ptr<const ModelFiles> files, const std::string& name) {
  QD_ASSIGN_OR_RETURN(std::vector<GgufPart> parts, OpenParts(*files, name));
  const GgufHeader& header = parts.front().header;
  QD_ASSIGN_OR_RETURN(Json config, ConfigOf(header, parts));
  AddTokenIds(header, config);
  QD_ASSIGN_OR_RETURN(const ModelSpec model, SpecOf(config));
  QD_RETURN_IF_ERROR(CheckTokens(header, model));
  QD_ASSIGN_OR_RETURN(std::vector<ShownTensor> tensors, ShowTensors(model, parts));

  GgufModel::Contents contents;
  const bool alone = OnlyGguf(*files) == name;
  contents.location = alone ? files->location() : files->Where(name);
  if (alone) {
    QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List());
    contents.beside = FilesBeside(names);
  }
  contents.texts[kConfig] = DumpJsonPretty(config);
  if (!contents.beside.contains(kTokenizer)) {
    QD_ASSIGN_OR_RETURN(auto made, TokenizerFiles(header));
    for (auto& [file, text] : made) {
      if (!contents.beside.contains(file)) contents.texts[file] = std::move(text);
    }
  }
  contents.stored = Describe(tensors);
  QD_ASSIGN_OR_RETURN(contents.weights,
                      ShowWeights(files->Where(name), std::move(parts), std::move(tensors)));
  return std::make_shared<const GgufModel>(std::move(files), std::move(contents));
}

}  // namespace quantd
