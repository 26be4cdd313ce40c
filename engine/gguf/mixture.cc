#include "engine/gguf/mixture.h"

#include <utility>

#include "engine/gguf/block_types.h"

namespace quantd {
namespace {

constexpr Mixture kMixtures[] = {
    {"F16", "F16", 1},      {"BF16", "BF16", 32},   {"Q8_0", "Q8_0", 7},    {"Q6_K", "Q6_K", 18},
    {"Q5_K_M", "Q5_K", 17}, {"Q5_K_S", "Q5_K", 16}, {"Q5_K", "Q5_K", 16},   {"Q5_1", "Q5_1", 9},
    {"Q5_0", "Q5_0", 8},    {"Q4_K_M", "Q4_K", 15}, {"Q4_K_S", "Q4_K", 14}, {"Q4_K", "Q4_K", 14},
    {"Q4_1", "Q4_1", 3},    {"Q4_0", "Q4_0", 2},    {"Q3_K_L", "Q3_K", 13}, {"Q3_K_M", "Q3_K", 12},
    {"Q3_K_S", "Q3_K", 11}, {"Q3_K", "Q3_K", 11},   {"Q2_K", "Q2_K", 10},   {"Q2_K_S", "Q2_K", 21},
};

constexpr std::pair<std::string_view, std::string_view> kFallbacks[] = {
    {"Q2_K", "Q4_0"}, {"Q3_K", "Q4_0"}, {"Q4_K", "Q5_0"}, {"Q5_K", "Q5_1"}, {"Q6_K", "Q8_0"}};

// A model of the shape of the 70B ones has eight times fewer weights in v than in q.
constexpr size_t kBlocksOf70B = 80;
constexpr std::string_view kFalcon = "falcon";  // has rules of its own

// Where the "M" mixtures spend more: the first and last eighth of the blocks, and every third.
bool MoreBits(int64_t block, int64_t blocks) {
  return block < blocks / 8 || block >= 7 * blocks / 8 || (block - blocks / 8) % 3 == 2;
}

bool HasEightExperts(const ModelSpec& model) {
  constexpr int kEight = 8;
  return !model.blocks.empty() && model.blocks[0].mixture.has_value() &&
         model.blocks[0].mixture->experts == kEight;
}

std::string_view ValueType(const Mixture& mixture, const ModelSpec& model, int64_t block) {
  const auto blocks = static_cast<int64_t>(model.blocks.size());
  const bool shared = model.kv_heads > 0 && model.heads / model.kv_heads >= 4;
  const std::string_view name = mixture.name;
  std::string_view type = mixture.base;
  if (name == "Q2_K") type = shared ? "Q4_K" : "Q3_K";
  if (name == "Q2_K_S" && shared) type = "Q4_K";
  if (name == "Q3_K_M") type = block < 2 ? "Q5_K" : "Q4_K";
  if (name == "Q3_K_L") type = "Q5_K";
  if (name == "Q4_K_S" && block < 4) type = "Q5_K";
  if ((name == "Q4_K_M" || name == "Q5_K_M") && MoreBits(block, blocks)) type = "Q6_K";
  const bool like_70b = model.blocks.size() == kBlocksOf70B && model.heads != model.kv_heads;
  if (like_70b && (type == "Q3_K" || type == "Q4_K")) type = "Q5_K";
  // Eight experts make the rest of a block small beside them.
  return HasEightExperts(model) ? "Q8_0" : type;
}

std::string_view KeyType(const Mixture& mixture, const ModelSpec& model) {
  return HasEightExperts(model) ? "Q8_0" : mixture.base;
}

std::string_view DownTypeOfFalcon(const Mixture& mixture, const ModelSpec& model, int64_t block) {
  const auto blocks = static_cast<int64_t>(model.blocks.size());
  const std::string_view name = mixture.name;
  if (name == "Q2_K") return "Q3_K";
  if (name == "Q2_K_S" && block < blocks / 8) return "Q4_K";
  if (name == "Q3_K_M")
    return block < blocks / 16 ? "Q5_K" : MoreBits(block, blocks) ? "Q4_K" : "Q3_K";
  if (name == "Q3_K_L") return "Q4_K";
  if (name == "Q4_K_M" && block < blocks / 16) return "Q6_K";
  if (name == "Q4_K_M" && MoreBits(block, blocks)) return "Q5_K";
  if (name == "Q5_K_M" && MoreBits(block, blocks)) return "Q6_K";
  return mixture.base;
}

std::string_view DownType(const Mixture& mixture, const ModelSpec& model, int64_t block) {
  if (model.family == kFalcon) return DownTypeOfFalcon(mixture, model, block);
  const auto blocks = static_cast<int64_t>(model.blocks.size());
  const std::string_view name = mixture.name;
  if (name == "Q2_K") return "Q3_K";
  if (name == "Q2_K_S" && block < blocks / 8) return "Q4_K";
  if (name == "Q3_K_M") return block < blocks / 16 ? "Q5_K" : "Q4_K";
  if (name == "Q3_K_L") return "Q5_K";
  if (name == "Q4_K_S" && block < blocks / 8) return "Q5_K";
  if ((name == "Q4_K_M" || name == "Q5_K_M") && MoreBits(block, blocks)) return "Q6_K";
  return mixture.base;
}

std::string_view OutputType(const Mixture& mixture, const ModelSpec& model) {
  if (model.family == kFalcon) return mixture.name == "Q3_K_L" ? "Q4_K" : mixture.base;
  if (HasEightExperts(model)) {
    for (const std::string_view raised : {"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M"}) {
      if (mixture.name == raised) return "Q5_K";
    }
    return mixture.base;
  }
  if (mixture.name == "Q2_K") return "Q3_K";
  if (mixture.name == "Q3_K_M") return "Q4_K";
  if (mixture.name == "Q3_K_L") return "Q5_K";
  return mixture.base;
}

// q, k and v as one.
std::string_view QkvType(const Mixture& mixture) {
  if (mixture.name == "Q3_K_M" || mixture.name == "Q3_K_L") return "Q4_K";
  if (mixture.name == "Q4_K_M") return "Q5_K";
  return mixture.name == "Q5_K_M" ? "Q6_K" : mixture.base;
}

// The output projection, and an embedding that is one with it.
std::string_view HeadType(const Mixture& mixture, const ModelSpec& model,
                          const LinearSpec& linear) {
  const BlockType& base = *FindBlockType(mixture.base);
  if (base.layout == nullptr) return base.name;
  return base.name == "Q8_0" || model.family == kFalcon || !base.Fits(linear.in_features) ? "Q8_0"
                                                                                          : "Q6_K";
}

std::string_view NameFor(const Mixture& mixture, const ModelSpec& model, const LinearSpec& linear) {
  // What keeps values keeps them everywhere.
  if (FindBlockType(mixture.base)->layout == nullptr) return mixture.base;
  switch (linear.role) {
    case LinearRole::kHead:
      return HeadType(mixture, model, linear);
    case LinearRole::kEmbedding:
      return model.tied_embeddings ? HeadType(mixture, model, linear) : mixture.base;
    case LinearRole::kV:
      return ValueType(mixture, model, linear.block);
    case LinearRole::kK:
      return KeyType(mixture, model);
    case LinearRole::kQkv:
      return QkvType(mixture);
    case LinearRole::kDown:
      return DownType(mixture, model, linear.block);
    case LinearRole::kO:
      return OutputType(mixture, model);
    default:
      return mixture.base;
  }
}

}  // namespace

std::span<const Mixture> Mixtures() { return kMixtures; }

const Mixture* FindMixture(std::string_view name) {
  for (const Mixture& mixture : kMixtures) {
    if (mixture.name == name) return &mixture;
  }
  return nullptr;
}

const BlockType& TypeFor(const Mixture& mixture, const ModelSpec& model, const LinearSpec& linear) {
  return *FindBlockType(NameFor(mixture, model, linear));
}

const BlockType& FittingType(const BlockType& type, int64_t columns) {
  if (type.Fits(columns)) return type;
  for (const auto& [wanted, instead] : kFallbacks) {
    if (wanted != type.name) continue;
    const BlockType& other = *FindBlockType(instead);
    if (other.Fits(columns)) return other;
  }
  return *FindBlockType("F16");
}

}  // namespace quantd
