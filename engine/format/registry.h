// Output formats. A format is one file with one row here: who reads it, what it can hold, which
// tensors stand for a linear and what bytes they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/format/container.h"
#include "engine/tensor/tensor.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"
#include "engine/types/scheme.h"

namespace quantd {

struct LoaderRow {
  std::string_view name;         // "transformers", "vllm", "sglang"
  std::string_view versions;     // releases that the rules were read in or run with: "0.32 to 0.33"
  std::string_view shape_rules;  // in words, for GetCapabilities and docs
};

// Who is to load the result.
struct LoaderTarget {
  std::string_view name;        // of the format's loaders, or "": nobody in particular
  int64_t tensor_parallel = 1;  // devices that share each linear
};

// Where one packed tensor of a panel of rows goes: `bytes` are written at `offset` of tensor
// `index` (position in tensors()). A tensor whose bytes are not contiguous for a panel gets several
// pieces.
struct PackedPiece {
  size_t index = 0;
  int64_t offset = 0;
  std::vector<std::byte> bytes;
};

struct Format {
  std::string_view name;
  std::string_view summary;
  std::span<const LoaderRow> loaders;

  // FORMAT_CANNOT_HOLD or LOADER_REFUSES, with every module that does not fit and what would.
  absl::Status (*accepts)(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                          const LoaderTarget& target);
  // The tensors that stand for `linear.weight`, names without the module prefix ("weight_packed").
  std::vector<TensorInfo> (*tensors)(const LinearSpec& linear, const Scheme& scheme);
  // Rows per panel must be a multiple of this so that no packed word spans two panels.
  int64_t (*row_alignment)(const Scheme& scheme);
  // Packs rows [row_begin, row_begin + rows.rows) of a linear. Null: the format has stripes.
  std::vector<PackedPiece> (*pack)(const LinearSpec& linear, const Scheme& scheme,
                                   int64_t row_begin, const QuantizedRows& rows);
  // Tensors that are written whole, once per linear (weight_shape).
  // `input` with ActivationScheme::kStatic.
  std::vector<PackedPiece> (*constants)(const LinearSpec& linear, const Scheme& scheme,
                                        const std::optional<StaticInput>& input);
  // The value of "quantization_config" in config.json; null: it has none.
  Json (*config)(std::span<const ResolvedLinear> linears, const ModelSpec& model);

  // What follows may be left out.

  // Bytes back to rows: `tensors` are the bytes of tensors(linear, scheme), in that order. Errors:
  // MODEL_CORRUPT for bytes that no scheme like this gives.
  absl::StatusOr<QuantizedRows> (*unpack)(const LinearSpec& linear, const Scheme& scheme,
                                          std::span<const std::span<const std::byte>> tensors) =
      nullptr;
  // Before anything is planned: what the format settles for schemes that it will store (the type of
  // scales), so that codes are chosen with scales as they are stored.
  void (*settle)(std::span<ResolvedLinear> linears, const ModelSpec& model) = nullptr;
  // For tensors whose words or rows lie across the rows of a linear: pieces are made of all rows at
  // once, in that many stripes, from any thread.
  int64_t (*stripes)(const LinearSpec& linear, const Scheme& scheme) = nullptr;
  std::vector<PackedPiece> (*pack_stripe)(const LinearSpec& linear, const Scheme& scheme,
                                          const QuantizedRows& all, int64_t stripe) = nullptr;
  // What a plan warns of: engines that people may expect to read the result and that do not, or not
  // the default way, with what works instead. Null: nothing.
  std::vector<std::string> (*caveats)(std::span<const ResolvedLinear> linears,
                                      const LoaderTarget& target) = nullptr;
  // Whether it can hold floating number formats (Scheme::number).
  bool floating = false;
  // Whether it can hold schemes with blocks (Scheme::block); others hold those without.
  bool blocks = false;
  // What "kv_cache_scheme" of the configuration is with an FP8 cache, whose scales stand beside the
  // attention's linears (engine/plan/kv_cache.h). Null: the format has no place for them.
  Json (*cache_scheme)() = nullptr;
  // For formats that are one file of their own kind; null: safetensors beside config.json.
  const Container* container = nullptr;
};

std::span<const Format> Formats();
// nullptr if there is none.
const Format* FindFormat(std::string_view name);
// Everybody who loads some format, once, in the order of the rows.
std::vector<std::string> LoaderNames();

}  // namespace quantd
