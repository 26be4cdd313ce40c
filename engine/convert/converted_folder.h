// The files of a converted model.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/json.h"
#include "engine/inspect/tensor_folder.h"
#include "engine/tensor/model_files.h"
#include "engine/tensor/shard_writer.h"
#include "engine/types/recipe.h"

namespace quantd {

struct ConvertedFile {
  std::string name;
  std::vector<TensorInfo> tensors;
  // Position in `tensors`, and where it comes from.
  std::vector<std::pair<size_t, const FolderTensor*>> copies;
  std::vector<std::pair<size_t, const ResolvedLinear*>> linears;  // the first of its parts

  void AddCopy(const FolderTensor& tensor);
  // `parts` as a format has them, without the name of the module.
  void AddLinear(const ResolvedLinear& resolved, std::vector<TensorInfo> parts);
};

// "model.safetensors", or "model-00002-of-00003.safetensors".
std::string ConvertedFileName(size_t file, size_t files);

// A tensor as it is, a few MiB at a time. Errors: of reading and writing.
absl::Status CopyTensor(const TensorFolder& folder, const FolderTensor& tensor, size_t index,
                        TensorFile& writer);

struct ConvertedModel {
  const ModelFiles& source;
  std::string output;        // a folder
  const Json& config;        // of the source
  const Json& quantization;  // the new quantization_config
  std::span<const ConvertedFile> files;
};

// What is not weights: the index where there are several files, tokenizer and licence as they are,
// quantize_config.json for GPTQ, a README.md that says what it was converted from, config.json
// last. Errors: of reading and writing.
absl::Status WriteModelFiles(const ConvertedModel& model);

}  // namespace quantd
