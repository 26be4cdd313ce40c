// Schemes whose numbers are blocks of a file format: which requests ask for them, and which type
// each linear gets.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"
#include "engine/types/scheme.h"

namespace quantd {

// Whether the request asks for block types: by its number format, or by method gguf. Such a request
// also decides about the embedding (role kEmbedding) and the output projection, whatever the
// default `skip` says; a tied projection goes with the embedding.
bool AsksForBlocks(const SchemeRequest& request);

// The mixtures and types that number_format takes: those that have blocks. "Q8_0, Q6_K, …".
std::string BlockFormatNames();

// Method::settle. Completes a scheme of blocks, whose layout is the name of a mixture, by what only
// the whole model tells: types go by role and depth, and give way where their blocks do not divide
// the rows. Embedding and output projection, of whose inputs nothing is known, and rows that no
// block divides are left to methods that only round.
absl::Status SettleBlocks(const ModelSpec& model, const LinearSpec& linear, Scheme& scheme);

}  // namespace quantd
