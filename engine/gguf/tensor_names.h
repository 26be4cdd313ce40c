// What GGUF calls the tensors of a model, and what becomes of them on the way into the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types/model_spec.h"

namespace quantd {

struct GgufName {
  enum class Rows {
    kInOrder,
    kPairedHeads,  // of the rows of each head, those of the two halves alternate
    kQkvApart      // from q, k, v of each key head to all of q, all of k, all of v
  };
  std::string name;  // "blk.0.attn_q.weight"
  Rows rows = Rows::kInOrder;
  int64_t heads = 0;  // of kPairedHeads
  // One of as many matrices that are stacked to one tensor; -1: a tensor of its own.
  int expert = -1;
  float added = 0;          // to each value
  bool as_float32 = false;  // whatever it was
};

// By the checkpoint's name; nothing for a tensor that the model does not use, or whose family has
// no GGUF.
std::optional<GgufName> FindGgufName(const ModelSpec& model, std::string_view tensor);

// Where each of so many rows goes; empty: they stay.
std::vector<int32_t> RowPlaces(const GgufName& name, const ModelSpec& model, int64_t rows);

}  // namespace quantd
