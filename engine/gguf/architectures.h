// What GGUF calls the families of ours, and what its readers take for granted in each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/types/model_spec.h"

namespace quantd {

struct GgufArchitecture {
  enum class Biases { kAny, kNone, kAll };     // of the linears of the blocks
  enum class Head { kAny, kOwn, kEmbedding };  // its own tensor, or the embedding's
  std::string_view family;                     // of ModelSpec
  std::string_view name;                       // general.architecture
  // Rotary embedding turns neighbours instead of halves, so the rows of q and k are paired.
  bool pairs_rows = false;
  Activation activation = Activation::kSilu;  // readers compute kGelu as kGeluTanh
  Biases biases = Biases::kAny;
  Head head = Head::kAny;
  // Every so-many-th block sees all positions, those between a window; 0: readers know no windows.
  int64_t window_period = 0;
  // Blocks of a model of that size scale by sqrt(hidden / heads) instead of sqrt(head_dim).
  size_t blocks_of_27b = 0;
  bool softcaps = false;      // of scores and logits
  bool rope_factors = false;  // divisors of the frequencies may be tensors
};

// nullptr: GGUF files of this family are not written.
const GgufArchitecture* FindGgufArchitecture(std::string_view family);
// The families of all architectures: "falcon, gemma, …".
std::string GgufFamilies();

// FORMAT_CANNOT_HOLD, with everything about the model that readers of the file would compute
// otherwise or that has no key.
absl::Status CheckModel(const ModelSpec& model);
// What readers of the file will not do quite as the original does.
std::vector<std::string> ModelWarnings(const ModelSpec& model);

}  // namespace quantd
