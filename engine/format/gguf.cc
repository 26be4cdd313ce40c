#include "engine/format/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/format/serving_rules.h"
#include "engine/gguf/architectures.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/gguf_layout.h"
#include "engine/gguf/mixture.h"
#include "engine/gguf/model_keys.h"
#include "engine/gguf/tokenizer_keys.h"
#include "engine/types/model_title.h"

namespace quantd {
namespace {

constexpr LoaderRow kLoaders[] = {
    {"llama.cpp", "builds 11063 to 11549 (xllamacpp 2026.9 and 2026.10)",
     "falcon, gemma, gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, mixtral, phi3, qwen2, "
     "qwen3, qwen3_moe, starcoder2; blocks of 256 inputs (K types) or 32 (all others), a type that "
     "does not fit gives way to the next larger one that does"},
};

// The type of the first expert of each role of a block; null: as in the checkpoint.
using Stacks = std::map<std::pair<int, LinearRole>, const BlockType*>;

// The experts of a block are one tensor, so they are of one type.
void CheckStack(const ResolvedLinear& entry, Stacks& stacks, std::vector<Violation>& violations) {
  const LinearSpec& linear = *entry.linear;
  if (linear.expert < 0) return;
  const BlockType* type = entry.scheme.has_value() ? entry.scheme->block : nullptr;
  const auto name = [](const BlockType* of) { return of == nullptr ? "16 bit" : of->name; };
  const auto [first, is_first] = stacks.try_emplace({linear.block, linear.role}, type);
  if (is_first || first->second == type) return;
  violations.push_back({linear.name, std::string(name(type)),
                        absl::StrCat(ToAbsl(name(first->second)), ", as the experts before it")});
}

absl::Status Accepts(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                     const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckTarget(kGguf, target));
  QD_RETURN_IF_ERROR(CheckModel(model));
  std::vector<Violation> violations;
  Stacks stacks;
  for (const ResolvedLinear& entry : linears) {
    CheckStack(entry, stacks, violations);
    if (!entry.scheme.has_value()) {
      if (entry.linear->transposed) {
        violations.push_back({entry.linear->name, "left as it lies, transposed",
                              "a type: F16 or BF16 keep its values"});
      }
      continue;
    }
    const BlockType* block = entry.scheme->block;
    if (block == nullptr) {
      violations.push_back({entry.linear->name, Describe(*entry.scheme),
                            "method gguf, or number_format Q4_K (or another block type)"});
    } else if (!block->Fits(entry.linear->in_features)) {
      violations.push_back({entry.linear->name,
                            absl::StrCat(entry.linear->in_features, " inputs in blocks of ",
                                         block->elements, " (", ToAbsl(block->name), ")"),
                            "whole blocks"});
    }
  }
  if (violations.empty()) return absl::OkStatus();
  return MakeError(Reason::kFormatCannotHold, "gguf cannot hold the recipe", std::move(violations));
}

std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  return {{"weight", DType::kU8, {linear.out_features, linear.in_features}, scheme.block}};
}

int64_t RowAlignment(const Scheme& /*scheme*/) { return 1; }

std::vector<PackedPiece> Pack(const LinearSpec& linear, const Scheme& scheme, int64_t row_begin,
                              const QuantizedRows& rows) {
  return {{0, row_begin * scheme.block->RowBytes(linear.in_features), rows.blocks}};
}

std::vector<PackedPiece> Constants(const LinearSpec& /*linear*/, const Scheme& /*scheme*/,
                                   const std::optional<StaticInput>& /*input*/) {
  return {};
}

Json Config(std::span<const ResolvedLinear> /*linears*/, const ModelSpec& /*model*/) {
  return nullptr;
}

std::optional<TensorInfo> Stored(const TensorInfo& tensor, const ModelSpec& model) {
  return StoredInGguf(tensor, model);
}

// The mixture that most of the model was asked to be; nullptr: nothing is quantized.
const Mixture* MixtureOf(std::span<const ResolvedLinear> linears) {
  for (const ResolvedLinear& entry : linears) {
    if (entry.scheme.has_value()) return FindMixture(entry.scheme->layout);
  }
  return nullptr;
}

// Types that gave way because their blocks do not divide the rows.
std::vector<std::string> Fallbacks(std::span<const ResolvedLinear> linears,
                                   const ModelSpec& model) {
  std::vector<std::string> warnings;
  for (const ResolvedLinear& entry : linears) {
    if (!entry.scheme.has_value()) continue;
    const Mixture* mixture = FindMixture(entry.scheme->layout);
    if (mixture == nullptr) continue;
    const BlockType& wanted = TypeFor(*mixture, model, *entry.linear);
    if (wanted.Fits(entry.linear->in_features)) continue;
    warnings.push_back(absl::StrCat(entry.linear->name, ": rows of ", entry.linear->in_features,
                                    " weights are no multiple of ", wanted.elements, ", so ",
                                    ToAbsl(entry.scheme->block->name), " takes the place of ",
                                    ToAbsl(wanted.name)));
  }
  return warnings;
}

uint32_t FileType(const Mixture* mixture, DType dtype) {
  if (mixture != nullptr) return mixture->file_type;
  if (dtype == DType::kF32) return 0;
  return FindMixture(dtype == DType::kBF16 ? "BF16" : "F16")->file_type;
}

// As llama.cpp finds the others when it is given the first.
void NameFiles(const std::string& stem, std::vector<LaidOutFile>& files) {
  for (size_t i = 0; i < files.size(); ++i) {
    files[i].name = files.size() == 1
                        ? stem + ".gguf"
                        : fmt::format("{}-{:05}-of-{:05}.gguf", stem, i + 1, files.size());
  }
}

absl::StatusOr<LaidOutContainer> LayOut(const ContainerRequest& request) {
  const ModelSpec& model = request.model;
  const Mixture* mixture = MixtureOf(request.linears);
  const std::string name = ModelTitle(request.files.location());
  LaidOutContainer container;
  container.warnings = ModelWarnings(model);
  for (std::string& warning : Fallbacks(request.linears, model)) {
    container.warnings.push_back(std::move(warning));
  }
  KeyValues keys;
  AddModel({model, name, FileType(mixture, model.dtype)}, keys);
  QD_RETURN_IF_ERROR(AddTokenizer(request.files, model.vocabulary, keys, container.warnings));
  if (request.calibration.has_value()) {
    const auto weighted =
        std::count_if(request.linears.begin(), request.linears.end(), [](const auto& entry) {
          return entry.scheme.has_value() && entry.scheme->scale_rule == ScaleRule::kWeightedMse;
        });
    keys.AddText("quantize.imatrix.file", "quantd");
    keys.AddText("quantize.imatrix.dataset", request.calibration->text);
    keys.AddU32("quantize.imatrix.entries_count", static_cast<uint32_t>(weighted));
    keys.AddU32("quantize.imatrix.chunks_count",
                static_cast<uint32_t>(request.calibration->windows));
  }
  QD_ASSIGN_OR_RETURN(container.files,
                      LayOutGguf(model, request.tensors, keys, request.split_bytes));
  NameFiles(mixture == nullptr ? name : absl::StrCat(name, "-", ToAbsl(mixture->name)),
            container.files);
  return container;
}

constexpr Container kContainer = {.stored = Stored, .lay_out = LayOut};

}  // namespace

const Format kGguf = {
    .name = "gguf",
    .summary = "one GGUF file with tokenizer and metadata: F16, Q8_0 to Q4_0, K-quants",
    .loaders = kLoaders,
    .accepts = Accepts,
    .tensors = Tensors,
    .row_alignment = RowAlignment,
    .pack = Pack,
    .constants = Constants,
    .config = Config,
    .blocks = true,
    .container = &kContainer,
};

}  // namespace quantd
