// What GGUF calls the families of ours, and their tensors.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "engine/model/model_spec.h"

namespace quantd {

struct GgufArchitecture {
  std::string_view family;  // of ModelSpec
  std::string_view name;    // general.architecture
  // Rotary embedding turns neighbours instead of halves, so the rows of q and k are paired.
  bool pairs_rows;
};

// nullptr: GGUF files of this family are not written.
const GgufArchitecture* FindGgufArchitecture(std::string_view family);

struct GgufName {
  std::string name;          // "blk.0.attn_q.weight"
  int64_t paired_heads = 0;  // 0: rows stay in order
};

// By the checkpoint's names, every tensor that the model uses.
std::map<std::string, GgufName, std::less<>> GgufNames(const ModelSpec& model);

}  // namespace quantd
