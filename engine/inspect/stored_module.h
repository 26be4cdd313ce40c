// A linear as the tensors of a folder store it: which layout, and the scheme that their shapes say.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/inspect/finding.h"
#include "engine/inspect/tensor_folder.h"
#include "engine/types/scheme.h"

namespace quantd {

// The bytes of each are in docs/formats.md. fp8 and bitsandbytes are known by name alone.
enum class Layout {
  kDense,
  kPackQuantized,  // compressed-tensors, weight only
  kIntQuantized,   // compressed-tensors, int8
  kAwqGemm,
  kGptq,
  kHqq,
  kFp8,
  kBitsAndBytes,
  kUnknown,
};
std::string_view NameOf(Layout layout);

struct StoredModule {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  Layout layout = Layout::kDense;
  std::map<std::string, const FolderTensor*, std::less<>> parts;  // by what follows the name

  // What the shapes say; 0 where they contradict each other (a problem was noted).
  int64_t out_features = 0, in_features = 0;
  // Bits, granularity, group size, symmetric, real zeros and the dtype of the scales; the method is
  // empty.
  Scheme scheme;
  bool usable = false;     // the parts fit together: codes and scales can be read
  bool reordered = false;  // weight_g_idx is there, or g_idx has groups that are not of neighbours

  const FolderTensor* Part(std::string_view suffix) const;
  // Of all parts but the bias.
  int64_t bytes() const;
  int64_t parameters() const { return out_features * in_features; }
};

// What a layout is to the inspection: one row each.
struct LayoutRow {
  Layout layout;
  std::string_view name;
  // Reads the scheme off the shapes (and the few numbers that say a shape). Every part that does
  // not fit is a problem.
  void (*measure)(StoredModule& module, const TensorFolder& folder, Findings* findings);
};
const LayoutRow& RowOf(Layout layout);

// Every module that stores a quantized weight, and every other two-dimensional ".weight", in the
// order of their names, measured.
std::vector<StoredModule> StoredModules(const TensorFolder& folder, Findings* findings);

// Whether the words of a module of kPackQuantized hold whole codes only, and bits that do not make
// one stay unused: how compressed-tensors packed 3, 5, 6 and 7 bits before 0.18.
bool HasGaps(const StoredModule& module);

// Measures, one per layout. `module` has its parts.
void MeasurePackQuantized(StoredModule& module, const TensorFolder& folder, Findings* findings);
void MeasureIntQuantized(StoredModule& module, const TensorFolder& folder, Findings* findings);
void MeasureAwq(StoredModule& module, const TensorFolder& folder, Findings* findings);
void MeasureGptq(StoredModule& module, const TensorFolder& folder, Findings* findings);
void MeasureHqq(StoredModule& module, const TensorFolder& folder, Findings* findings);

// Notes a problem of `part` unless it is there with this dtype and shape; -1 stands for any size.
// An empty list of dtypes: any.
bool ExpectPart(const StoredModule& module, std::string_view part, std::vector<DType> dtypes,
                std::vector<int64_t> shape, Findings* findings);
// The integers of a small I32, I64 or U8 part; none, and a problem, if it is missing, of another
// dtype, not of `count` elements or cannot be read.
std::vector<int64_t> SmallPart(const StoredModule& module, const TensorFolder& folder,
                               std::string_view part, int64_t count, Findings* findings);
// The granularity of `groups` scales over rows of `in` weights; notes a problem and returns false
// when the groups do not divide the row.
bool SetGroups(StoredModule& module, int64_t groups, Findings* findings);

}  // namespace quantd
