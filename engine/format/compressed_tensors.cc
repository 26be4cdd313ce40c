#include "engine/format/compressed_tensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/checked.h"
#include "engine/backend/kernels.h"
#include "engine/format/compressed_tensors_floats.h"
#include "engine/format/packed_words.h"
#include "engine/format/serving_rules.h"
#include "engine/format/stored_tensors.h"

namespace quantd {
namespace {

// Written by this version's rules; loaders from 0.10 on read it (tests/interop/check_ct_layout.py).
constexpr std::string_view kVersion = "0.13.0";
// Of those that have floating formats with scales of a type of their own, and codes that cross
// words: releases before 0.18 left the bits of a word unused that no whole code fits into.
constexpr std::string_view kRecentVersion = "0.20.0";

constexpr LoaderRow kLoaders[] = {
    {"transformers", "4.57 to 5.24 with compressed-tensors 0.13 to 0.20",
     "any shape; weights are widened to 16 bit on loading; asymmetric not by the default way; "
     "experts symmetric, all alike and as the first linear; not Falcon"},
    {"vllm", kVllmVersions,
     "2 to 8 bits; 4 bits, and 8 symmetric: groups of 32, 64 or 128 or one per channel; with zero "
     "points N times bits a multiple of 32; fp8-block: N a multiple of 128 where linears are "
     "fused; q, k, v alike or none; gate and up alike or none; experts: hidden size a multiple of "
     "128"},
    {"sglang", kSglangVersions,
     "4 and 8 bits: N a multiple of 64 and K of 128, groups of 32, 64 or 128 or one per channel; "
     "8 bits only symmetric; q, k, v alike or none; gate and up alike or none; no output head"},
};

// Integers in words, without activations.
bool IsPacked(const Scheme& scheme) {
  return scheme.activations == ActivationScheme::kNone && !scheme.floating();
}

// Whether loaders know the layout from the first releases on.
bool FirstReleasesRead(const Scheme& scheme) {
  return !scheme.floating() && (scheme.bits == 4 || scheme.bits == 8);
}

std::string_view FormatNameOf(const Scheme& scheme) {
  if (scheme.floating()) return FloatingLayout(scheme);
  return IsPacked(scheme) ? "pack-quantized" : "int-quantized";
}

std::vector<int64_t> ScaleShape(const LinearSpec& linear, const Scheme& scheme) {
  if (scheme.granularity == Granularity::kTensor) return {1};
  return {linear.out_features, scheme.GroupsPerRow(linear.in_features)};
}

std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  if (scheme.floating()) return FloatingTensors(linear, scheme);
  const int64_t n = linear.out_features, k = linear.in_features;
  const TensorInfo scale = {"weight_scale", scheme.scale_dtype, ScaleShape(linear, scheme)};
  if (!IsPacked(scheme)) {
    std::vector<TensorInfo> tensors = {{"weight", DType::kI8, {n, k}}, scale};
    if (HasStaticInput(scheme)) tensors.push_back({"input_scale", scheme.scale_dtype, {1}});
    if (HasInputZero(scheme)) tensors.push_back({"input_zero_point", DType::kI8, {1}});
    return tensors;
  }
  std::vector<TensorInfo> tensors = {{"weight_packed", DType::kI32, {n, WordsFor(k, scheme.bits)}},
                                     scale};
  if (!scheme.symmetric) {
    tensors.push_back(
        {"weight_zero_point", DType::kI32, {WordsFor(n, scheme.bits), scheme.GroupsPerRow(k)}});
  }
  tensors.push_back({"weight_shape", DType::kI64, {2}});
  return tensors;
}

// Zero points are packed along the rows: a panel must hold whole words of them.
int64_t RowAlignment(const Scheme& scheme) {
  return IsPacked(scheme) && !scheme.symmetric ? 32 / std::gcd(32, scheme.bits) : 1;
}

// Codes of `rows` rows as dense little-endian words of stored = code + 2^(bits - 1); each row
// starts a new word, what is left of its last word is zero.
std::vector<std::byte> PackCodes(const int8_t* codes, int64_t rows, int64_t columns, int bits) {
  const int64_t words_per_row = WordsFor(columns, bits);
  std::vector<uint32_t> words(static_cast<size_t>(rows * words_per_row), 0);
  if (bits == 4) {
    const QuantizeKernels& kernels = CpuKernels();
    if (columns % 8 == 0) {
      kernels.pack4(codes, rows * columns, words.data());
    } else {
      for (int64_t n = 0; n < rows; ++n) {
        kernels.pack4(codes + n * columns, columns, words.data() + n * words_per_row);
      }
    }
  } else if (bits == 8) {
    auto* bytes = reinterpret_cast<uint8_t*>(words.data());
    for (int64_t n = 0; n < rows; ++n) {
      uint8_t* row = bytes + n * words_per_row * 4;
      for (int64_t k = 0; k < columns; ++k) {
        row[k] = static_cast<uint8_t>(static_cast<uint8_t>(codes[n * columns + k]) ^ 0x80u);
      }
    }
  } else {
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t k = 0; k < columns; ++k) {
        PutCode(Unsigned(codes[n * columns + k], bits), k, bits, words.data() + n * words_per_row);
      }
    }
  }
  return BytesOf<uint32_t>(words);
}

// Zero points [rows, groups] packed along the rows: the words of column g are the dense stream of
// the zero points of group g.
std::vector<std::byte> PackZeros(const QuantizedRows& rows, int bits) {
  const int64_t word_rows = WordsFor(rows.rows, bits);
  std::vector<uint32_t> words(static_cast<size_t>(word_rows * rows.groups), 0);
  std::vector<uint32_t> stream(static_cast<size_t>(word_rows));
  for (int64_t g = 0; g < rows.groups; ++g) {
    std::fill(stream.begin(), stream.end(), 0);
    for (int64_t n = 0; n < rows.rows; ++n) {
      PutCode(Unsigned(rows.zeros[static_cast<size_t>(n * rows.groups + g)], bits), n, bits,
              stream.data());
    }
    for (int64_t word = 0; word < word_rows; ++word) {
      words[static_cast<size_t>(word * rows.groups + g)] = stream[static_cast<size_t>(word)];
    }
  }
  return BytesOf<uint32_t>(words);
}

// With granularity tensor every panel carries the one scale; the first writes it.
void AppendScales(const Scheme& scheme, int64_t row_begin, const QuantizedRows& rows, size_t index,
                  std::vector<PackedPiece>* pieces) {
  const bool one = scheme.granularity == Granularity::kTensor;
  if (rows.rows == 0 || (one && row_begin != 0)) return;
  const int64_t count = one ? 1 : rows.rows * rows.groups;
  const int64_t offset = one ? 0 : row_begin * rows.groups * SizeOf(scheme.scale_dtype);
  const auto scales = std::span(rows.scales).first(static_cast<size_t>(count));
  pieces->push_back({index, offset, NarrowedBytes(scales, scheme.scale_dtype)});
}

std::vector<PackedPiece> Pack(const LinearSpec& linear, const Scheme& scheme, int64_t row_begin,
                              const QuantizedRows& rows) {
  if (scheme.floating()) return PackFloating(linear, scheme, row_begin, rows);
  std::vector<PackedPiece> pieces;
  if (IsPacked(scheme)) {
    const int64_t row_bytes = WordsFor(linear.in_features, scheme.bits) * 4;
    pieces.push_back({0, row_begin * row_bytes,
                      PackCodes(rows.codes.data(), rows.rows, rows.columns, scheme.bits)});
  } else {
    PackedPiece codes = {0, row_begin * linear.in_features, {}};
    codes.bytes.resize(rows.codes.size());
    std::memcpy(codes.bytes.data(), rows.codes.data(), rows.codes.size());
    pieces.push_back(std::move(codes));
  }
  AppendScales(scheme, row_begin, rows, 1, &pieces);
  if (IsPacked(scheme) && !scheme.symmetric) {
    const int64_t word_row = row_begin * scheme.bits / 32;
    pieces.push_back({2, word_row * rows.groups * 4, PackZeros(rows, scheme.bits)});
  }
  return pieces;
}

std::vector<PackedPiece> InputConstants(const Scheme& scheme, const StaticInput& input) {
  PackedPiece scale = {2, 0, NarrowedBytes(std::span(&input.scale, 1), scheme.scale_dtype)};
  if (!HasInputZero(scheme)) return {std::move(scale)};
  return {std::move(scale), {3, 0, {static_cast<std::byte>(input.zero)}}};
}

std::vector<PackedPiece> Constants(const LinearSpec& linear, const Scheme& scheme,
                                   const std::optional<StaticInput>& input) {
  if (scheme.floating()) return FloatingConstants(linear, scheme, input);
  if (!IsPacked(scheme)) {
    if (!input.has_value()) return {};
    return InputConstants(scheme, *input);
  }
  const int64_t shape[2] = {linear.out_features, linear.in_features};
  PackedPiece piece = {scheme.symmetric ? size_t{2} : size_t{3}, 0, {}};
  piece.bytes.resize(sizeof(shape));
  std::memcpy(piece.bytes.data(), shape, sizeof(shape));
  return {std::move(piece)};
}

Json WeightArguments(const Scheme& scheme) {
  if (scheme.floating()) return FloatingWeightArguments(scheme);
  return {{"num_bits", scheme.bits},
          {"type", "int"},
          {"symmetric", scheme.symmetric},
          {"strategy", std::string(NameOf(scheme.granularity))},
          {"group_size",
           scheme.granularity == Granularity::kGroup ? Json(scheme.group_size) : Json(nullptr)},
          {"dynamic", false},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"observer", "minmax"},
          {"observer_kwargs", Json::object()}};
}

Json ActivationArguments(const Scheme& scheme) {
  if (scheme.floating()) return FloatingInputArguments(scheme);
  if (scheme.activations == ActivationScheme::kNone) return nullptr;
  const bool is_static = HasStaticInput(scheme);
  return {{"num_bits", 8},
          {"type", "int"},
          {"symmetric", !HasInputZero(scheme)},
          {"strategy", is_static ? "tensor" : "token"},
          {"group_size", nullptr},
          {"dynamic", !is_static},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"observer", is_static ? Json("minmax") : Json(nullptr)},
          {"observer_kwargs", Json::object()}};
}

struct StoredGroup {
  const Scheme* scheme = nullptr;
  std::vector<const LinearSpec*> linears;
};

// Linears that are stored alike, in the order in which the first of each comes.
std::vector<StoredGroup> GroupByScheme(std::span<const ResolvedLinear> linears) {
  std::vector<StoredGroup> groups;
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) continue;
    StoredGroup* home = nullptr;
    for (StoredGroup& group : groups) {
      if (StoredAlike(*group.scheme, *resolved.scheme)) home = &group;
    }
    if (home == nullptr) home = &groups.emplace_back(StoredGroup{&*resolved.scheme, {}});
    home->linears.push_back(resolved.linear);
  }
  return groups;
}

// With one scheme for all, the class of the modules; vLLM's output head is of another class and
// goes by name.
Json TargetsOf(const StoredGroup& group, size_t groups) {
  Json targets = Json::array();
  if (groups == 1) targets.push_back("Linear");
  for (const LinearSpec* linear : group.linears) {
    if (groups > 1 || linear->role == LinearRole::kHead) targets.push_back(linear->name);
  }
  return targets;
}

// Keys that some loader between 0.10 and 0.18 refuses (scale_dtype, zp_dtype, empty transform and
// sparsity configurations) are left out.
Json Config(std::span<const ResolvedLinear> linears, const ModelSpec& model) {
  const std::vector<StoredGroup> groups = GroupByScheme(linears);
  std::string_view format = "dense", version = kVersion;
  Json config_groups = Json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    const Scheme& scheme = *groups[i].scheme;
    const std::string_view group_format = FormatNameOf(scheme);
    if (!FirstReleasesRead(scheme)) version = kRecentVersion;
    format = i == 0 || format == group_format ? group_format : "mixed-precision";
    config_groups["group_" + std::to_string(i)] = {
        {"targets", TargetsOf(groups[i], groups.size())},
        {"format", std::string(group_format)},
        {"weights", WeightArguments(scheme)},
        {"input_activations", ActivationArguments(scheme)},
        {"output_activations", nullptr}};
  }
  Json ignore = Json::array();
  for (const ResolvedLinear& resolved : linears) {
    if (resolved.scheme.has_value()) continue;
    ignore.push_back(resolved.linear->name);
    // transformers 5 calls it so in every family (GPT-NeoX's was embed_out).
    const bool renamed =
        resolved.linear->role == LinearRole::kHead && !resolved.linear->name.ends_with("lm_head");
    if (renamed) ignore.push_back("lm_head");
  }
  // Loaders know these under prefixes of their own.
  for (const std::string& module : model.carried_modules) {
    ignore.push_back("re:.*" + module + ".*");
  }
  for (const std::string& module : model.dense_modules) ignore.push_back(module);
  return {{"quant_method", "compressed-tensors"}, {"format", std::string(format)},
          {"quantization_status", "compressed"},  {"version", std::string(version)},
          {"global_compression_ratio", nullptr},  {"kv_cache_scheme", nullptr},
          {"ignore", std::move(ignore)},          {"config_groups", std::move(config_groups)}};
}

// The keys and their order are those that compressed-tensors 0.20 saves.
Json CacheScheme() {
  return {{"num_bits", 8},         {"type", "float"},      {"symmetric", true},
          {"group_size", nullptr}, {"strategy", "tensor"}, {"dynamic", false}};
}

}  // namespace

const Format kCompressedTensors = {
    .name = "compressed-tensors",
    .summary =
        "safetensors with packed weights of 2 to 8 bits, int8 weights for W8A8, or fp8, mxfp8, "
        "mxfp4, nvfp4",
    .loaders = kLoaders,
    .accepts = CompressedTensorsAccepts,
    .tensors = Tensors,
    .row_alignment = RowAlignment,
    .pack = Pack,
    .constants = Constants,
    .config = Config,
    .caveats = CompressedTensorsCaveats,
    .floating = true,
    .cache_scheme = CacheScheme,
};

}  // namespace quantd
