// Tensors under other names than the family's own: the prefixes that checkpoints of one model
// differ by, and linears of a family that nobody told us of.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// Renames the spec's tensors where the checkpoint has the model under another prefix: inside a
// vision-language model, or saved without its head. Names the modules beside the language model.
using TensorNames = std::set<std::string, std::less<>>;
void AdoptNames(const TensorNames& tensors, ModelSpec& model);

// The output projection that the checkpoint holds is the embedding only if it has the same bytes,
// whatever config.json says (as transformers 5 reads it). Errors: those of reading.
absl::Status SettleHead(const Checkpoint& checkpoint, ModelSpec& model);

// Names the modules with a 2-D weight that are no linear of the model: ModelSpec::dense_modules.
void NameDenseModules(const Checkpoint& checkpoint, ModelSpec& model);

// What can be said of an unknown family: blocks by the number in the names, and in them every 2-D
// weight that neither looks up, nor normalizes, nor routes. Not runnable. MODEL_UNSUPPORTED if
// there is none, or the model is quantized already.
absl::StatusOr<ModelSpec> SpecByNames(const Json& config, const std::string& model_type,
                                      const Checkpoint& checkpoint);

}  // namespace quantd
