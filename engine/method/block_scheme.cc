#include "engine/method/block_scheme.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/block_layout.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/mixture.h"
#include "engine/method/gguf.h"
#include "engine/method/rtn.h"

namespace quantd {
namespace {

// The type that an option names for this linear, or that of the mixture.
const BlockType& Wanted(const ModelSpec& model, const LinearSpec& linear, const Scheme& scheme) {
  const auto named = [&](std::string_view option) {
    return FindBlockType(std::string_view(scheme.options.Text(option)));
  };
  const BlockType* type = nullptr;
  const bool embedding = linear.role == LinearRole::kEmbedding;
  if (embedding) type = named("embedding");
  const bool output = linear.role == LinearRole::kHead || (embedding && model.tied_embeddings);
  if (type == nullptr && output) type = named("output");
  return type != nullptr ? *type : TypeFor(*FindMixture(scheme.layout), model, linear);
}

// What a type says of the fields that other schemes choose.
void TakeShape(const BlockType& type, Scheme& scheme) {
  const bool blocks = type.layout != nullptr;
  scheme.granularity = blocks ? Granularity::kGroup : Granularity::kChannel;
  scheme.group_size = blocks ? type.elements : 0;
  scheme.symmetric = !blocks || !type.layout->has_min();
}

}  // namespace

bool AsksForBlocks(const SchemeRequest& request) {
  if (request.method == kGgufMethod.name) return true;
  return request.number_format.has_value() && FindMixture(*request.number_format) != nullptr;
}

std::string BlockFormatNames() {
  std::string names;
  for (const Mixture& mixture : Mixtures()) {
    if (FindBlockType(mixture.base)->layout == nullptr) continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(mixture.name));
  }
  return names;
}

absl::Status SettleBlocks(const ModelSpec& model, const LinearSpec& linear, Scheme& scheme) {
  if (scheme.block == nullptr) return absl::OkStatus();
  scheme.block = &FittingType(Wanted(model, linear, scheme), linear.in_features);
  scheme.bits = scheme.block->bits;
  const bool blocks = scheme.block->layout != nullptr;
  const bool counted = linear.role != LinearRole::kHead && linear.role != LinearRole::kEmbedding;
  if (!blocks) {
    scheme.scale_rule = ScaleRule::kAbsmax;
  } else if (!counted && scheme.scale_rule == ScaleRule::kWeightedMse) {
    scheme.scale_rule = ScaleRule::kMse;
  }
  if (scheme.method == kGgufMethod.name) return absl::OkStatus();
  TakeShape(*scheme.block, scheme);
  if (counted && blocks) return absl::OkStatus();
  scheme.method = std::string(kRtn.name);
  scheme.options = {};
  return absl::OkStatus();
}

}  // namespace quantd
