#include "engine/model/tensor_names.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"

namespace quantd {
namespace {

struct Prefix {
  std::string_view own, theirs;
};
constexpr Prefix kPrefixes[] = {
    {"model.", "language_model.model."},  // vision-language models before transformers 4.52
    {"model.", "model.language_model."},  // and after
    {"transformer.", ""},                 // GPT-2 as it was first published
    {"model.decoder.", "decoder."},       // OPT likewise
    {"gpt_neox.", ""},                    // models saved without their head, as the rest below
    {"model.", ""},
};

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// `name` with its prefix replaced; as it is if it has another.
std::string Renamed(const std::string& name, const Prefix& prefix) {
  if (!StartsWith(name, prefix.own)) return name;
  return std::string(prefix.theirs) + name.substr(prefix.own.size());
}

void Rename(const Prefix& prefix, ModelSpec& model) {
  const auto rename = [&prefix](std::string& name) { name = Renamed(name, prefix); };
  for (std::string* name : {&model.embedding, &model.positions, &model.final_norm.gain,
                            &model.final_norm.bias, &model.head_tensor}) {
    rename(*name);
  }
  for (BlockSpec& block : model.blocks) {
    rename(block.prefix);
    for (NormSpec& norm : block.norms) {
      rename(norm.gain);
      rename(norm.bias);
    }
    for (LinearSpec& linear : block.linears) rename(linear.name);
  }
}

// The first part of every tensor's name that is not the language model's.
std::vector<std::string> ModulesBeside(const TensorNames& tensors, const ModelSpec& model) {
  constexpr std::string_view kTable = "embed_tokens.weight";
  const std::string_view embedding = model.embedding;
  const std::string_view tower = embedding.substr(0, embedding.size() - kTable.size());
  std::set<std::string> modules;
  for (std::string_view name : tensors) {
    const bool inside = StartsWith(name, tower) ||
                        name.find("language_model.") != std::string_view::npos ||
                        name == model.head.name + ".weight";
    if (inside) continue;
    if (StartsWith(name, "model.")) name.remove_prefix(std::string_view("model.").size());
    modules.insert(std::string(name.substr(0, name.find('.'))));
  }
  return {modules.begin(), modules.end()};
}

// Calls the output projection `name`, if there is such a tensor.
void NameHead(ModelSpec& model, const std::string& name, const TensorNames& tensors) {
  if (!tensors.contains(name + ".weight")) return;
  model.head.name = name;
  if (!model.tied_embeddings) model.head_tensor = name + ".weight";
}

// Whether both tensors have one shape, type and content, read a stretch of rows at a time.
absl::StatusOr<bool> SameBytes(const Checkpoint& checkpoint, const TensorInfo& a,
                               const TensorInfo& b) {
  if (a.shape != b.shape || a.dtype != b.dtype || a.shape.size() != 2) return false;
  constexpr int64_t kStretch = int64_t{4} << 20;
  const int64_t row_bytes = std::max<int64_t>(1, a.shape[1] * SizeOf(a.dtype));
  const int64_t stretch = std::max<int64_t>(1, kStretch / row_bytes);
  AlignedBuffer<std::byte> of_a(stretch * row_bytes), of_b(stretch * row_bytes);
  for (int64_t row = 0; row < a.shape[0]; row += stretch) {
    const int64_t count = std::min(stretch, a.shape[0] - row);
    const auto bytes = static_cast<size_t>(count * row_bytes);
    const std::span<std::byte> left = of_a.span().first(bytes), right = of_b.span().first(bytes);
    QD_RETURN_IF_ERROR(checkpoint.ReadRows(a.name, row, count, left));
    QD_RETURN_IF_ERROR(checkpoint.ReadRows(b.name, row, count, right));
    if (!std::equal(left.begin(), left.end(), right.begin())) return false;
  }
  return true;
}

// "model.layers.12.mlp.fc1.weight" is in block ("model.layers.", 12).
using BlockKey = std::pair<std::string, int64_t>;

std::optional<BlockKey> BlockOf(std::string_view name) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    int64_t number = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
    if (!part.empty() && parsed.ec == std::errc() && parsed.ptr == part.data() + part.size()) {
      return BlockKey(name.substr(0, begin), number);
    }
    begin = end + 1;
  }
  return std::nullopt;
}

// By its name and shape: a matrix that activations are multiplied by.
bool IsLinear(const TensorInfo& info) {
  constexpr int64_t kNarrowest = 32;
  constexpr std::string_view kOthers[] = {"embed", "norm",  "router",    "gate.weight", "conv",
                                          "wte",   "wpe",   "vision",    "visual",      "image",
                                          "patch", "audio", "projector", "position"};
  if (!absl::EndsWith(info.name, ".weight") || info.shape.size() != 2) return false;
  if (!IsFloat(info.dtype) || std::min(info.shape[0], info.shape[1]) < kNarrowest) return false;
  return std::none_of(std::begin(kOthers), std::end(kOthers), [&](std::string_view other) {
    return info.name.find(other) != std::string::npos;
  });
}

BlockSpec MakeBlock(const std::vector<const TensorInfo*>& tensors, const BlockKey& key, int index,
                    const Checkpoint& checkpoint) {
  BlockSpec block;
  block.prefix = absl::StrCat(key.first, key.second, ".");
  for (const TensorInfo* info : tensors) {
    constexpr size_t kSuffix = std::string_view(".weight").size();
    LinearSpec linear = {.name = info->name.substr(0, info->name.size() - kSuffix),
                         .out_features = info->shape[0],
                         .in_features = info->shape[1],
                         .block = index,
                         .input = static_cast<int>(block.linears.size())};
    linear.has_bias = checkpoint.Find(linear.name + ".bias") != nullptr;
    block.linears.push_back(std::move(linear));
  }
  return block;
}

}  // namespace

void AdoptNames(const TensorNames& tensors, ModelSpec& model) {
  // Of GPT-NeoX, which writers call by either.
  if (!tensors.contains(model.head.name + ".weight")) {
    for (const char* name : {"lm_head", "embed_out"}) NameHead(model, name, tensors);
  }
  for (const Prefix& prefix : kPrefixes) {
    if (tensors.contains(model.embedding)) break;
    const std::string embedding = Renamed(model.embedding, prefix);
    if (embedding != model.embedding && tensors.contains(embedding)) Rename(prefix, model);
  }
  NameHead(model, "language_model." + model.head.name, tensors);
  const bool is_tower = !model.carried_modules.empty() ||
                        model.embedding.find("language_model.") != std::string::npos;
  if (!is_tower) return;
  model.carried_modules = ModulesBeside(tensors, model);
  // Its name in memory is another than in the checkpoint.
  model.carried_modules.push_back("lm_head");
}

absl::Status SettleHead(const Checkpoint& checkpoint, ModelSpec& model) {
  if (!model.tied_embeddings) return absl::OkStatus();
  const TensorInfo* head = checkpoint.Find(model.head.name + ".weight");
  const TensorInfo* embedding = checkpoint.Find(model.embedding);
  if (head == nullptr || embedding == nullptr) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const bool same, SameBytes(checkpoint, *head, *embedding));
  if (same) return absl::OkStatus();
  model.tied_embeddings = false;
  model.untied_by_content = true;
  model.head_tensor = head->name;
  return absl::OkStatus();
}

void NameDenseModules(const Checkpoint& checkpoint, ModelSpec& model) {
  TensorNames known = {model.embedding, model.positions, model.head_tensor,
                       model.head.name + ".weight"};
  for (const BlockSpec& block : model.blocks) {
    for (const LinearSpec& linear : block.linears) known.insert(linear.name + ".weight");
  }
  constexpr std::string_view kWeight = ".weight";
  for (const TensorInfo* info : checkpoint.Tensors()) {
    if (info->shape.size() != 2 || !info->name.ends_with(kWeight)) continue;
    const bool carried = std::any_of(
        model.carried_modules.begin(), model.carried_modules.end(),
        [&](const std::string& module) { return info->name.find(module) != std::string::npos; });
    if (known.contains(info->name) || carried) continue;
    model.dense_modules.push_back(info->name.substr(0, info->name.size() - kWeight.size()));
  }
}

absl::StatusOr<ModelSpec> SpecByNames(const Json& config, const std::string& model_type,
                                      const Checkpoint& checkpoint) {
  ModelSpec model;
  model.family = model_type;
  model.runnable = false;
  ConfigReader reader(config);
  reader.RefuseQuantized();
  const std::vector<std::string> architectures = reader.fields().Strings("architectures");
  if (!architectures.empty()) model.architecture = architectures[0];
  QD_RETURN_IF_ERROR(reader.Finish());
  std::map<BlockKey, std::vector<const TensorInfo*>> blocks;
  for (const TensorInfo* info : checkpoint.Tensors()) {
    const auto key = BlockOf(info->name);
    if (key.has_value() && IsLinear(*info)) blocks[*key].push_back(info);
  }
  for (const auto& [key, tensors] : blocks) {
    const auto index = static_cast<int>(model.blocks.size());
    model.blocks.push_back(MakeBlock(tensors, key, index, checkpoint));
  }
  if (model.blocks.empty()) {
    return MakeError(Reason::kModelUnsupported, "unknown model family",
                     Violation{"config.json:model_type", "\"" + model_type + "\"",
                               "a family that is known, or 2-D weights in numbered blocks"});
  }
  const TensorInfo* head = checkpoint.Find("lm_head.weight");
  model.tied_embeddings = head == nullptr || head->shape.size() != 2;
  model.head = {.name = "lm_head", .role = LinearRole::kHead};
  model.head_tensor = "lm_head.weight";
  if (!model.tied_embeddings) {
    model.head.out_features = model.vocabulary = head->shape[0];
    model.head.in_features = head->shape[1];
  }
  return model;
}

}  // namespace quantd
