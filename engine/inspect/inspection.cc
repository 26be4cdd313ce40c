#include "engine/inspect/inspection.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/format/registry.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/inspect/contents.h"
#include "engine/inspect/gguf_inspection.h"
#include "engine/inspect/model_check.h"
#include "engine/inspect/model_source.h"
#include "engine/tensor/model_folder.h"

namespace quantd {
namespace {

constexpr std::array<std::string_view, 7> kTokenizerFiles = {"tokenizer.json",
                                                             "tokenizer.model",
                                                             "tokenizer_config.json",
                                                             "special_tokens_map.json",
                                                             "vocab.json",
                                                             "merges.txt",
                                                             "tekken.json"};

void ReadFacts(const Json& config, Inspection* inspection) {
  if (const auto found = config.find("model_type"); found != config.end() && found->is_string()) {
    inspection->family = *found;
  }
  const auto found = config.find("architectures");
  if (found != config.end() && found->is_array() && !found->empty() && found->front().is_string()) {
    inspection->architecture = found->front();
  }
}

std::string LayoutText(std::span<const StoredModule> modules, const Declared& declared) {
  std::set<std::string> layouts;
  for (const StoredModule& module : modules) {
    if (module.layout != Layout::kDense) layouts.insert(std::string(NameOf(module.layout)));
  }
  if (layouts.empty()) return "dense";
  if (declared.method.empty() || declared.method == "unknown") return *layouts.begin();
  const bool said = declared.variant.empty() || declared.variant == declared.method;
  return absl::StrCat(declared.method, said ? "" : " ", said ? "" : declared.variant);
}

void AddTensors(const TensorFolder& folder, Inspection* inspection) {
  for (const TensorFolder::File& file : folder.files()) {
    inspection->files.push_back({file.name, file.bytes});
  }
  for (const auto& [name, tensor] : folder.tensors()) {
    inspection->bytes += tensor.info.bytes();
    inspection->tensors.push_back({name, std::string(NameOf(tensor.info.dtype)), tensor.info.shape,
                                   tensor.info.bytes(), folder.files()[tensor.file].name});
  }
}

void AddModules(const TensorFolder& folder, std::span<const StoredModule> modules,
                Inspection* inspection) {
  int64_t quantized = 0, quantized_bytes = 0;
  std::set<const FolderTensor*> counted;
  for (const StoredModule& module : modules) {
    const bool is_quantized = module.layout != Layout::kDense;
    inspection->modules.push_back({.name = module.name,
                                   .scheme = DescribeStored(module),
                                   .quantized = is_quantized,
                                   .out_features = module.out_features,
                                   .in_features = module.in_features,
                                   .bytes = module.bytes()});
    inspection->parameters += module.parameters();
    for (const auto& [suffix, tensor] : module.parts) {
      if (suffix != "bias") counted.insert(tensor);
    }
    if (!is_quantized || module.parameters() == 0) continue;
    quantized += module.parameters();
    quantized_bytes += module.bytes();
  }
  for (const auto& [name, tensor] : folder.tensors()) {
    if (!counted.contains(&tensor)) inspection->parameters += tensor.info.elements();
  }
  const auto bits = [](int64_t bytes, int64_t weights) {
    return weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(weights) : 0.0;
  };
  inspection->bits_quantized = bits(quantized_bytes, quantized);
  inspection->bits_overall = bits(inspection->bytes, inspection->parameters);
}

absl::Status InspectTensors(const ModelFiles& files, const InspectOptions& options,
                            Inspection* inspection) {
  Findings* findings = &inspection->findings;
  inspection->kind = "safetensors";
  QD_ASSIGN_OR_RETURN(const ModelSource source, ReadModelSource(files, findings));
  const TensorFolder& folder = source.folder;
  const std::vector<StoredModule>& modules = source.modules;
  inspection->has_index = folder.has_index();
  ReadFacts(source.config, inspection);
  inspection->config = source.declared.config;
  inspection->layout = LayoutText(modules, source.declared);
  AddTensors(folder, inspection);
  AddModules(folder, modules, inspection);
  CheckLoaders(modules, source.config, options.loader, findings);
  if (options.contents == ReadContents::kAll) {
    CheckContents(folder, modules, source.declared, findings);
  }
  for (const std::string_view name : kTokenizerFiles) {
    if (files.Has(name)) inspection->tokenizer.emplace_back(name);
  }
  if (inspection->tokenizer.empty()) findings->Note("tokenizer", "no file of one");
  return absl::OkStatus();
}

// "model.layers.12.mlp.up_proj" -> {"model.layers.", 12, "mlp.up_proj"}; the first number counts.
struct NumberedName {
  std::string label;
  std::string number;
};

NumberedName WithoutNumber(const std::string& name) {
  for (size_t at = 0; at < name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    const std::string part = name.substr(at, dot - at);
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    if (digits && dot < name.size()) return {name.substr(dot + 1), part};
    at = dot + 1;
  }
  return {name, ""};
}

}  // namespace

absl::StatusOr<Inspection> Inspect(const std::string& path, const InspectOptions& options) {
  const std::vector<std::string> loaders = LoaderNames();
  if (!options.loader.empty() &&
      std::find(loaders.begin(), loaders.end(), options.loader) == loaders.end()) {
    return MakeError(Reason::kInvalidField, "unknown loader",
                     Violation{"--loader", options.loader, absl::StrJoin(loaders, ", ")});
  }
  Inspection inspection;
  inspection.path = path;
  if (!PathExists(path)) {
    return MakeError(Reason::kModelNotFound, "nothing to inspect",
                     Violation{path, "nothing there", "the folder of a model, or a GGUF file"});
  }
  const bool is_folder = IsFolder(path);
  const std::filesystem::path parts(path);
  const std::string folder = is_folder                 ? path
                             : parts.has_parent_path() ? parts.parent_path().string()
                                                       : ".";
  QD_ASSIGN_OR_RETURN(const auto files, OpenModelFolder(folder));
  std::string gguf = is_folder ? OnlyGguf(*files) : parts.filename().string();
  if (!is_folder && !LooksLikeGguf(*files, gguf)) {
    return MakeError(
        Reason::kModelNotFound, "nothing to inspect",
        Violation{path, "a file of another kind", "the folder of a model, or a GGUF file"});
  }
  QD_RETURN_IF_ERROR(gguf.empty() ? InspectTensors(*files, options, &inspection)
                                  : InspectGguf(*files, gguf, options, &inspection));
  return inspection;
}

std::vector<ModuleGroup> GroupModules(const Inspection& inspection) {
  std::vector<ModuleGroup> groups;
  std::map<std::pair<std::string, std::string>, size_t> places;
  for (const InspectedModule& module : inspection.modules) {
    const NumberedName name = WithoutNumber(module.name);
    const auto [place, added] = places.emplace(std::pair(name.label, module.scheme), groups.size());
    if (added) groups.push_back({name.label, module.scheme, 0, 0, 0});
    ModuleGroup& group = groups[place->second];
    ++group.count;
    group.parameters += module.parameters();
    group.bytes += module.bytes;
  }
  return groups;
}

}  // namespace quantd
