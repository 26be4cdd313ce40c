// Formats whose result is a file of its own kind (or several, split) instead of a model folder:
// names, configuration and tokenizer are inside.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tensor_file.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"

namespace quantd {

// What calibration was made with, when a scheme asks for it.
struct WeightingSource {
  std::string text;
  int64_t windows = 0;
};

struct ContainerRequest {
  const ModelSpec& model;
  const ModelFiles& files;
  std::span<const ResolvedLinear> linears;  // with the embedding, if it has a scheme
  std::span<const TensorInfo> tensors;      // as they will be stored, in order
  std::optional<WeightingSource> calibration;
  int64_t split_bytes = 0;  // a file holds at most that much if it can; 0: there is one
};

struct LaidOutContainer {
  std::vector<LaidOutFile> files;  // of the tensors in order: some in the first, the next in …
  std::vector<std::string> warnings;
};

struct Container {
  // How a tensor of the checkpoint is stored that is not quantized; nothing: the file has no place
  // for it.
  std::optional<TensorInfo> (*stored)(const TensorInfo& tensor, const ModelSpec& model);
  // Everything but the tensors' bytes. Reads small files of the model.
  absl::StatusOr<LaidOutContainer> (*lay_out)(const ContainerRequest& request);
};

}  // namespace quantd
