#include "engine/inspect/model_check.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "engine/model/registry.h"
#include "engine/model/tensor_names.h"

namespace quantd {
namespace {

std::string Shown(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

class ModelCheck {
 public:
  ModelCheck(const TensorFolder& folder, std::span<const StoredModule> modules, Findings* findings)
      : folder_(folder), findings_(findings) {
    for (const StoredModule& module : modules) by_name_[module.name] = &module;
  }

  void Tensor(const std::string& name, const std::vector<int64_t>& shape) {
    if (name.empty()) return;
    const FolderTensor* found = folder_.Find(name);
    if (found == nullptr) {
      // Engines may quantize embeddings too; those are found as modules.
      const std::string module = name.substr(0, name.rfind('.'));
      if (const auto stored = by_name_.find(module); stored != by_name_.end()) return;
      findings_->Problem(name, "missing, with " + Shown(shape));
    } else if (found->info.shape != shape) {
      findings_->Problem(name, absl::StrCat("is ", Shown(found->info.shape), ", config.json wants ",
                                            Shown(shape)));
    }
  }

  void Linear(const LinearSpec& linear) {
    const auto found = by_name_.find(linear.name);
    if (found == by_name_.end()) {
      findings_->Problem(linear.name, "missing: neither a weight nor a quantized one");
      return;
    }
    const StoredModule& module = *found->second;
    // What contradicts itself was told already; bitsandbytes keeps the shape elsewhere.
    if (module.parameters() == 0 || module.layout == Layout::kBitsAndBytes) return;
    std::vector<int64_t> wanted = {linear.out_features, linear.in_features};
    if (linear.transposed && module.layout == Layout::kDense) std::swap(wanted[0], wanted[1]);
    const std::vector<int64_t> shape = {module.out_features, module.in_features};
    if (shape != wanted) {
      findings_->Problem(linear.name,
                         absl::StrCat("is ", Shown(shape), ", config.json wants ", Shown(wanted)));
    }
  }

  void Model(const ModelSpec& model) {
    Tensor(model.embedding, {model.vocabulary, model.hidden});
    Tensor(model.final_norm.gain, {model.hidden});
    if (!model.tied_embeddings) Linear(model.head);
    for (const BlockSpec& block : model.blocks) {
      for (const NormRole role : {NormRole::kAttention, NormRole::kMlp}) {
        Tensor(block.norm(role).gain, {model.hidden});
      }
      for (const LinearSpec& linear : block.linears) Linear(linear);
    }
  }

 private:
  const TensorFolder& folder_;
  std::map<std::string, const StoredModule*> by_name_;
  Findings* findings_;
};

// The number after "layers." or "h." in a name; -1 without.
int64_t BlockOf(std::string_view name) {
  for (const std::string_view mark : {"layers.", "h.", "blk."}) {
    const size_t at = name.find(mark);
    if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) continue;
    int64_t block = -1;
    const std::string_view digits = name.substr(at + mark.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), block);
    return block;
  }
  return -1;
}

void CheckBlocks(const TensorFolder& folder, const Json& config, Findings* findings) {
  const auto found = config.find("num_hidden_layers");
  if (found == config.end() || !found->is_number_integer()) return;
  const auto blocks = found->get<int64_t>();
  int64_t beyond = 0;
  std::string first;
  for (const auto& [name, tensor] : folder.tensors()) {
    if (!name.starts_with("model.layers.") || BlockOf(name) < blocks) continue;
    if (beyond++ == 0) first = name;
  }
  if (beyond == 0) return;
  findings->Problem(first, absl::StrCat("and ", beyond - 1, " more tensors belong to blocks that ",
                                        "config.json does not have: it has ", blocks));
}

bool IsTied(const Json& config) {
  const auto found = config.find("tie_word_embeddings");
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

// What differs between the configuration and the shapes; empty: nothing.
std::string Difference(const DeclaredScheme& declared, const StoredModule& module) {
  const Scheme& stored = module.scheme;
  if (declared.bits.has_value() && *declared.bits != stored.bits) {
    return absl::StrCat("config.json says ", *declared.bits, " bits, the tensors hold ",
                        stored.bits);
  }
  const bool one_group = stored.granularity == Granularity::kChannel;
  if (declared.granularity == Granularity::kGroup && declared.group_size != stored.group_size &&
      !(one_group && declared.group_size == module.in_features)) {
    return absl::StrCat(
        "config.json says groups of ", *declared.group_size, ", the scales are ",
        one_group ? "one per row" : absl::StrCat("for groups of ", stored.group_size));
  }
  if (declared.granularity == Granularity::kChannel && !one_group) {
    return "config.json says one scale per row, the tensors have groups";
  }
  const bool zeros_tell = module.layout == Layout::kPackQuantized;
  if (zeros_tell && declared.symmetric.has_value() && *declared.symmetric != stored.symmetric) {
    return stored.symmetric ? "config.json says asymmetric, and there are no zero points"
                            : "config.json says symmetric, and there are zero points";
  }
  if (module.layout == Layout::kIntQuantized && declared.activations.has_value() &&
      (*declared.activations == ActivationScheme::kStatic) !=
          (stored.activations == ActivationScheme::kStatic)) {
    return stored.activations == ActivationScheme::kStatic
               ? "there is an input scale, and config.json says dynamic inputs"
               : "config.json says static inputs, and there is no input scale";
  }
  return "";
}

}  // namespace

bool IsLinearName(std::string_view module) {
  static constexpr std::array<std::string_view, 24> kNames = {
      "q_proj",  "k_proj",    "v_proj",          "o_proj",   "gate_proj",
      "up_proj", "down_proj", "qkv_proj",        "fc1",      "gate_up_proj",
      "fc2",     "out_proj",  "query_key_value", "dense",    "dense_h_to_4h",
      "c_attn",  "c_proj",    "dense_4h_to_h",   "c_fc",     "w1",
      "w2",      "w3",        "lm_head",         "embed_out"};
  const size_t dot = module.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? module : module.substr(dot + 1);
  return std::find(kNames.begin(), kNames.end(), last) != kNames.end();
}

std::string DescribeStored(const StoredModule& module) {
  const Scheme& scheme = module.scheme;
  if (module.layout == Layout::kDense) {
    const FolderTensor* weight = module.Part("weight");
    return absl::AsciiStrToLower(ToAbsl(NameOf(weight->info.dtype)));
  }
  if (module.layout == Layout::kFp8 || module.layout == Layout::kBitsAndBytes) {
    return absl::StrCat(ToAbsl(NameOf(module.layout)), " ", scheme.bits, " bit");
  }
  if (module.layout == Layout::kUnknown || module.parameters() == 0) return "unknown";
  std::string text = absl::StrCat("int", scheme.bits);
  if (scheme.granularity == Granularity::kGroup) {
    absl::StrAppend(&text, " g", scheme.group_size);
  } else {
    absl::StrAppend(&text, " per ", ToAbsl(NameOf(scheme.granularity)));
  }
  absl::StrAppend(&text, scheme.symmetric ? " sym" : scheme.real_zero ? " real zeros" : " asym");
  if (scheme.activations != ActivationScheme::kNone) {
    absl::StrAppend(&text, ", ", ToAbsl(NameOf(scheme.activations)), " inputs");
  }
  if (module.reordered) absl::StrAppend(&text, ", reordered");
  return text;
}

void CheckModel(const TensorFolder& folder, std::span<const StoredModule> modules,
                const Json& config, Findings* findings) {
  CheckBlocks(folder, config, findings);
  if (IsTied(config)) {
    for (const StoredModule& module : modules) {
      if (module.name != "lm_head") continue;
      if (module.layout == Layout::kDense) {
        findings->Note("lm_head", "stored, though config.json ties it to the embedding");
      } else {
        findings->Problem("lm_head", "quantized, though config.json ties it to the embedding");
      }
    }
  }
  const auto type = config.find("model_type");
  const std::string name =
      type != config.end() && type->is_string() ? type->get<std::string>() : "";
  for (const Family& family : Families()) {
    if (family.name != name) continue;
    Json original = config;  // families refuse what is quantized already
    original.erase("quantization_config");
    absl::StatusOr<ModelSpec> model = family.parse(original);
    if (!model.ok()) {
      findings->Note("config.json", std::string(model.status().message()));
    } else if (folder.unreadable_files() == 0) {
      TensorNames names;
      for (const auto& [tensor, found] : folder.tensors()) names.insert(tensor);
      AdoptNames(names, *model);
      ModelCheck(folder, modules, findings).Model(*model);
    }
    return;
  }
  findings->Note("config.json:model_type",
                 absl::StrCat("\"", name, "\" is not a family that is read here: tensors are not ",
                              "compared with it"));
}

void CheckDeclared(std::span<const StoredModule> modules, const Declared& declared,
                   const Json& config, Findings* findings) {
  const bool quantizes_head =
      declared.scheme_of != nullptr && declared.scheme_of("lm_head").has_value();
  const bool stored = std::any_of(modules.begin(), modules.end(),
                                  [](const auto& module) { return module.name == "lm_head"; });
  if (IsTied(config) && quantizes_head && !stored) {
    findings->Problem("lm_head", "tied to the embedding, and config.json says it is quantized");
  }
  for (const StoredModule& module : modules) {
    const bool quantized = module.layout != Layout::kDense;
    if (declared.method.empty()) {
      if (quantized) findings->Problem(module.name, "quantized, and config.json does not say so");
      continue;
    }
    if (declared.scheme_of == nullptr) continue;
    const std::optional<DeclaredScheme> scheme = declared.scheme_of(module.name);
    if (!quantized && scheme.has_value() && IsLinearName(module.name)) {
      findings->Problem(module.name, "dense, and config.json says that it is quantized");
    } else if (quantized && !scheme.has_value()) {
      findings->Problem(module.name, "quantized, and config.json says that it is not");
    } else if (quantized && scheme->type == "int" && module.parameters() > 0 &&
               module.layout != Layout::kUnknown) {
      const std::string difference = Difference(*scheme, module);
      if (!difference.empty()) findings->Problem(module.name, difference);
    }
  }
}

}  // namespace quantd
