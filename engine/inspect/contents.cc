#include "engine/inspect/contents.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/finite.h"

namespace quantd {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;

// Calls `look` on the tensor piece by piece; pieces hold whole elements. Stops when it returns
// false.
void ReadThrough(const TensorFolder& folder, const FolderTensor& tensor, Findings* findings,
                 const std::function<bool(std::span<const std::byte>)>& look) {
  const int64_t bytes = tensor.info.bytes();
  AlignedBuffer<std::byte> piece(std::min(bytes, kPieceBytes));
  for (int64_t done = 0; done < bytes; done += kPieceBytes) {
    const auto part = piece.span().first(static_cast<size_t>(std::min(kPieceBytes, bytes - done)));
    if (const absl::Status read = folder.Read(tensor, done, part); !read.ok()) {
      findings->Problem(tensor.info.name, std::string(read.message()));
      return;
    }
    if (!look(part)) return;
  }
}

void CheckFiniteTensor(const TensorFolder& folder, const FolderTensor& tensor, Findings* findings) {
  if (!IsFloat(tensor.info.dtype) && tensor.info.dtype != DType::kF64) return;
  ReadThrough(folder, tensor, findings, [&](std::span<const std::byte> piece) {
    if (AllFinite(piece, tensor.info.dtype)) return true;
    findings->Problem(tensor.info.name, "NaN or infinity");
    return false;
  });
}

void CheckScales(const TensorFolder& folder, const FolderTensor& tensor, Findings* findings) {
  if (!IsFloat(tensor.info.dtype)) return;
  int64_t zeros = 0;
  ReadThrough(folder, tensor, findings, [&](std::span<const std::byte> piece) {
    const int64_t count = static_cast<int64_t>(piece.size()) / SizeOf(tensor.info.dtype);
    std::vector<float> values(static_cast<size_t>(count));
    WidenToF32(piece.data(), tensor.info.dtype, count, values.data());
    zeros += std::count(values.begin(), values.end(), 0.0F);
    return true;
  });
  if (zeros > 0) {
    findings->Problem(tensor.info.name,
                      absl::StrCat(zeros, " of ", tensor.info.elements(), " scales are 0"));
  }
}

// The fields of `bits` bits in the words of a tensor, low first, that `bad` says are wrong.
int64_t CountFields(const TensorFolder& folder, const FolderTensor& tensor, int bits,
                    Findings* findings, const std::function<bool(uint32_t)>& bad) {
  int64_t count = 0;
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  ReadThrough(folder, tensor, findings, [&](std::span<const std::byte> piece) {
    for (size_t at = 0; at + 4 <= piece.size(); at += 4) {
      uint32_t word = 0;
      std::memcpy(&word, piece.data() + at, sizeof(word));
      for (int i = 0; i < 32 / bits; ++i) {
        if (bad((word >> (i * bits)) & mask)) ++count;
      }
    }
    return true;
  });
  return count;
}

// Version 1 stores a zero point less one: 2^bits - 1 stands for 0 with some loaders and for 2^bits
// with others. Widths that cross words are left out.
void CheckGptqZeros(const TensorFolder& folder, const StoredModule& module,
                    const Declared& declared, Findings* findings) {
  const int bits = module.scheme.bits;
  if (bits != 2 && bits != 4 && bits != 8) return;
  const FolderTensor& zeros = *module.Part("qzeros");
  const bool second = declared.variant == "gptq_v2";
  const uint32_t largest = (uint32_t{1} << bits) - 1;
  const uint32_t middle = (uint32_t{1} << (bits - 1)) - (second ? 0 : 1);
  if (!second) {
    const int64_t wrapped = CountFields(folder, zeros, bits, findings,
                                        [&](uint32_t field) { return field == largest; });
    if (wrapped > 0) {
      findings->Problem(zeros.info.name, absl::StrCat(wrapped, " zero points stored as ", largest,
                                                      ": out of range in version 1"));
    }
  }
  if (declared.scheme_of == nullptr) return;
  const auto scheme = declared.scheme_of(module.name);
  if (!scheme.has_value() || !scheme->symmetric.value_or(false)) return;
  const int64_t other =
      CountFields(folder, zeros, bits, findings, [&](uint32_t field) { return field != middle; });
  if (other > 0) {
    findings->Problem(zeros.info.name,
                      absl::StrCat(other, " zero points are not ", middle, ", as sym: true says"));
  }
}

// The group of every input: within range, and in order unless inputs were reordered.
void CheckGroupIndex(const TensorFolder& folder, const StoredModule& module,
                     const FolderTensor& index, bool reordered, Findings* findings) {
  const auto bytes = folder.ReadAll(index);
  if (!bytes.ok()) {
    findings->Problem(index.info.name, std::string(bytes.status().message()));
    return;
  }
  const int64_t width = SizeOf(index.info.dtype), inputs = index.info.elements();
  const int64_t groups = module.scheme.GroupsPerRow(module.in_features);
  int64_t outside = 0, falling = 0, moved = 0, before = 0;
  for (int64_t i = 0; i < inputs; ++i) {
    int64_t group = 0;
    std::memcpy(&group, bytes->data() + i * width, static_cast<size_t>(width));
    if (group < 0 || group >= groups) ++outside;
    if (group < before) ++falling;
    if (module.scheme.granularity == Granularity::kGroup && group != i / module.scheme.group_size) {
      ++moved;
    }
    before = group;
  }
  if (outside > 0) {
    findings->Problem(index.info.name, absl::StrCat(outside, " inputs name a group beyond the ",
                                                    groups, " there are"));
  } else if (falling > 0 && !reordered) {
    findings->Problem(index.info.name, "groups are not in order, and desc_act is not set");
  } else if (moved > 0 && !reordered) {
    findings->Problem(index.info.name,
                      absl::StrCat(moved, " inputs are not in the group of their place"));
  }
}

// HQQ keeps widths of 5 to 7 bits in whole bytes, and leaves two bits of a word with 3.
void CheckHqqCodes(const TensorFolder& folder, const StoredModule& module, Findings* findings) {
  const FolderTensor& codes = *module.Part("W_q");
  const int bits = module.scheme.bits;
  int64_t outside = 0;
  if (bits > 4 && bits < 8) {
    outside =
        CountFields(folder, codes, 8, findings, [&](uint32_t field) { return field >> bits != 0; });
  } else if (bits == 3) {
    ReadThrough(folder, codes, findings, [&](std::span<const std::byte> piece) {
      for (size_t at = 3; at < piece.size(); at += 4) {
        if (std::to_integer<int>(piece[at]) > 0x3f) ++outside;
      }
      return true;
    });
  }
  if (outside > 0) {
    findings->Problem(codes.info.name,
                      absl::StrCat(outside, " codes do not fit into ", bits, " bits"));
  }
}

bool DeclaresOrder(const Declared& declared) {
  const auto found =
      declared.config.is_object() ? declared.config.find("desc_act") : declared.config.end();
  return declared.config.is_object() && found != declared.config.end() && found->is_boolean() &&
         found->get<bool>();
}

void CheckModule(const TensorFolder& folder, const StoredModule& module, const Declared& declared,
                 Findings* findings) {
  for (const std::string_view part :
       {"scales", "scale", "weight_scale", "weight_scale_inv", "input_scale"}) {
    const FolderTensor* scales = module.Part(part);
    if (scales != nullptr) CheckScales(folder, *scales, findings);
  }
  if (!module.usable) return;
  if (module.layout == Layout::kGptq) CheckGptqZeros(folder, module, declared, findings);
  if (module.layout == Layout::kHqq) CheckHqqCodes(folder, module, findings);
  if (const FolderTensor* index = module.Part("g_idx"); index != nullptr) {
    CheckGroupIndex(folder, module, *index, DeclaresOrder(declared), findings);
  }
  if (const FolderTensor* index = module.Part("weight_g_idx"); index != nullptr) {
    CheckGroupIndex(folder, module, *index, /*reordered=*/true, findings);
  }
}

}  // namespace

void CheckContents(const TensorFolder& folder, std::span<const StoredModule> modules,
                   const Declared& declared, Findings* findings) {
  for (const auto& [name, tensor] : folder.tensors()) CheckFiniteTensor(folder, tensor, findings);
  for (const StoredModule& module : modules) {
    if (module.layout != Layout::kDense) CheckModule(folder, module, declared, findings);
  }
}

}  // namespace quantd
