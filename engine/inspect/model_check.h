// Compares what a folder stores with what its config.json describes.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"
#include "engine/inspect/declared.h"
#include "engine/inspect/finding.h"
#include "engine/inspect/stored_module.h"
#include "engine/inspect/tensor_folder.h"

namespace quantd {

// Tensors that the family needs and that are missing or of another shape, blocks that config.json
// does not have, a quantized head that is tied. A family that we do not read is a note.
void CheckModel(const TensorFolder& folder, std::span<const StoredModule> modules,
                const Json& config, Findings* findings);

// Linears whose tensors contradict quantization_config: widths, groups, dense or not.
// A tied head that quantization_config does not leave out, too.
void CheckDeclared(std::span<const StoredModule> modules, const Declared& declared,
                   const Json& config, Findings* findings);

// Runs the shape rules of the engines that load the layout. Refusals are notes, those of `loader`
// problems.
void CheckLoaders(std::span<const StoredModule> modules, const Json& config,
                  std::string_view loader, Findings* findings);

// Whether modules of that name are linears in the usual checkpoints.
bool IsLinearName(std::string_view module);

// "int4 g128 asym", "int8 per channel sym, dynamic inputs", "bf16".
std::string DescribeStored(const StoredModule& module);

}  // namespace quantd
