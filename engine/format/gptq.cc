#include "engine/format/gptq.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/format/packed_words.h"
#include "engine/format/serving_rules.h"
#include "engine/format/stored_tensors.h"
#include "engine/tensor/tensor.h"

namespace quantd {
namespace {

constexpr LoaderRow kLoaders[] = {
    {"transformers", kTransformersVersions,
     "with GPTQModel: 2, 3, 4 and 8 bits, one width, group size and symmetry for all; N and K "
     "multiples of 32; no "
     "output head"},
    {"vllm", kVllmVersions,
     "4 and 8 bits symmetric, no desc_act: groups of 32, 64 or 128 or one per channel; q, k, v "
     "alike or none; gate and up alike or none; experts: hidden size a multiple of 128"},
    {"sglang", kSglangVersions,
     "2, 3, 4 and 8 bits; N a multiple of 64 and K of 128, groups of 32, 64 or 128 or one per "
     "channel; q, k, v alike or none; gate and up alike or none; no output head"},
};

// Inputs of one stripe. Codes of 32 inputs are whole words in every width.
constexpr int64_t kStripeInputs = 256;

enum Part : size_t { kWeights, kZeros, kScales, kGroups, kParts };

std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  const int64_t n = linear.out_features, k = linear.in_features;
  const int64_t groups = scheme.GroupsPerRow(k);
  return {{"qweight", DType::kI32, {WordsFor(k, scheme.bits), n}},
          {"qzeros", DType::kI32, {groups, WordsFor(n, scheme.bits)}},
          {"scales", scheme.scale_dtype, {groups, n}},
          {"g_idx", DType::kI32, {k}}};
}

std::vector<int32_t> Neighbours(int64_t columns, int64_t groups) {
  std::vector<int32_t> group_of(static_cast<size_t>(columns));
  const auto width = static_cast<size_t>(columns / groups);
  for (size_t k = 0; k < group_of.size(); ++k) group_of[k] = static_cast<int32_t>(k / width);
  return group_of;
}

// Zero points less one must not be negative. (q - 0) s = (q' - z') (-s) with q' and z' counted from
// the other end, so a group whose zero point is the least code is stored that way round.
bool IsTurned(const Scheme& scheme, const QuantizedRows& rows, int64_t at) {
  return !rows.zeros.empty() && scheme.layout != kGptqV2 &&
         rows.zeros[static_cast<size_t>(at)] == scheme.qmin();
}

// What is added to signed codes and zeros of one group, or subtracted from the turned ones.
uint32_t Stored(int code, int bits, bool turned) {
  const uint32_t stored = Unsigned(code, bits);
  return turned ? (1U << bits) - 1 - stored : stored;
}

// [words of the stripe's inputs, N], row by row of the linear.
PackedPiece PackWeights(const Scheme& scheme, const QuantizedRows& all, int64_t begin,
                        int64_t end) {
  const int bits = scheme.bits;
  const int64_t words_per_row = WordsFor(end - begin, bits);
  std::vector<int32_t> group_of = all.group_of;
  if (group_of.empty()) group_of = Neighbours(all.columns, all.groups);
  std::vector<uint32_t> words(static_cast<size_t>(words_per_row * all.rows), 0);
  std::vector<uint32_t> row(static_cast<size_t>(words_per_row));
  std::vector<uint8_t> turned(static_cast<size_t>(all.groups));
  for (int64_t n = 0; n < all.rows; ++n) {
    std::fill(row.begin(), row.end(), 0);
    const int8_t* codes = all.codes.data() + n * all.columns;
    for (int64_t group = 0; group < all.groups; ++group) {
      turned[static_cast<size_t>(group)] = IsTurned(scheme, all, n * all.groups + group) ? 1 : 0;
    }
    for (int64_t k = begin; k < end; ++k) {
      const auto group = static_cast<size_t>(group_of[static_cast<size_t>(k)]);
      PutCode(Stored(codes[k], bits, turned[group] != 0), k - begin, bits, row.data());
    }
    for (int64_t word = 0; word < words_per_row; ++word) {
      words[static_cast<size_t>(word * all.rows + n)] = row[static_cast<size_t>(word)];
    }
  }
  return {kWeights, WordsFor(begin, bits) * all.rows * 4, BytesOf<uint32_t>(words)};
}

PackedPiece PackZeros(const Scheme& scheme, const QuantizedRows& all) {
  const int bits = scheme.bits;
  const int64_t words_per_group = WordsFor(all.rows, bits);
  const uint32_t less = scheme.layout == kGptqV2 ? 0 : 1;
  std::vector<uint32_t> words(static_cast<size_t>(words_per_group * all.groups), 0);
  for (int64_t n = 0; n < all.rows; ++n) {
    for (int64_t group = 0; group < all.groups; ++group) {
      const int64_t at = n * all.groups + group;
      const int zero = all.zeros.empty() ? 0 : all.zeros[static_cast<size_t>(at)];
      PutCode(Stored(zero, bits, IsTurned(scheme, all, at)) - less, n, bits,
              words.data() + group * words_per_group);
    }
  }
  return {kZeros, 0, BytesOf<uint32_t>(words)};
}

PackedPiece PackScales(const Scheme& scheme, const QuantizedRows& all) {
  std::vector<float> scales = all.scales;
  for (size_t at = 0; at < scales.size(); ++at) {
    if (IsTurned(scheme, all, static_cast<int64_t>(at))) scales[at] = -scales[at];
  }
  return {kScales, 0, BytesByGroup(scales, all.rows, scheme.scale_dtype)};
}

// The order in which columns were rounded is in it only if groups were cut from that order.
PackedPiece PackGroups(const QuantizedRows& all) {
  const bool neighbours = all.group_of.empty();
  return {kGroups, 0,
          BytesOf<int32_t>(neighbours ? Neighbours(all.columns, all.groups) : all.group_of)};
}

int64_t Stripes(const LinearSpec& linear, const Scheme& /*scheme*/) {
  return DivideRoundingUp(linear.in_features, kStripeInputs);
}

std::vector<PackedPiece> PackStripe(const LinearSpec& linear, const Scheme& scheme,
                                    const QuantizedRows& all, int64_t stripe) {
  const int64_t begin = stripe * kStripeInputs;
  const int64_t end = std::min(linear.in_features, begin + kStripeInputs);
  std::vector<PackedPiece> pieces = {PackWeights(scheme, all, begin, end)};
  if (stripe > 0) return pieces;
  pieces.push_back(PackZeros(scheme, all));
  pieces.push_back(PackScales(scheme, all));
  pieces.push_back(PackGroups(all));
  return pieces;
}

std::vector<PackedPiece> Constants(const LinearSpec& /*linear*/, const Scheme& /*scheme*/,
                                   const std::optional<StaticInput>& /*input*/) {
  return {};
}

// GPTQModel 5.7 adds one to zero points wrongly where they have 3 bits (two of its three constants
// are exchanged) and where widths are mixed (it adds the constant of the most common width to all);
// its loader of 5.7 to 7.7 refuses zero points less one of an asymmetric checkpoint that it did not
// make. With zero points as they are, all loaders agree.
void Settle(std::span<ResolvedLinear> linears, const ModelSpec& /*model*/) {
  int bits = 0;
  bool plain_zeros = false;
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) continue;
    plain_zeros = plain_zeros || !resolved.scheme->symmetric || resolved.scheme->bits == 3 ||
                  (bits != 0 && bits != resolved.scheme->bits);
    bits = resolved.scheme->bits;
  }
  for (ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) continue;
    resolved.scheme->scale_dtype = DType::kF16;
    resolved.scheme->layout = plain_zeros ? kGptqV2 : "";
  }
}

constexpr std::string_view kWhat = "a GPTQ linear";

absl::Status CheckGroups(const LinearSpec& linear, const Scheme& scheme,
                         std::span<const int32_t> group_of) {
  const std::vector<int32_t> neighbours = NeighbouringGroups(linear, scheme);
  const int64_t groups = scheme.GroupsPerRow(linear.in_features);
  for (size_t k = 0; k < group_of.size(); ++k) {
    const bool is_there = group_of[k] >= 0 && group_of[k] < groups;
    if (is_there && (scheme.ordered_groups || group_of[k] == neighbours[k])) continue;
    return IsNot(kWhat, linear, absl::StrCat("input ", k, " in group ", group_of[k]),
                 is_there ? "groups of neighbouring inputs (desc_act false)"
                          : absl::StrCat("0..", groups - 1));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int32_t> NeighbouringGroups(const LinearSpec& linear, const Scheme& scheme) {
  return Neighbours(linear.in_features, scheme.GroupsPerRow(linear.in_features));
}

absl::StatusOr<QuantizedRows> UnpackGptq(const LinearSpec& linear, const Scheme& scheme,
                                         std::span<const std::span<const std::byte>> tensors) {
  QD_RETURN_IF_ERROR(CheckSizes(kWhat, linear, Tensors(linear, scheme), tensors));
  std::vector<int32_t> group_of = ValuesOf<int32_t>(tensors[kGroups]);
  QD_RETURN_IF_ERROR(CheckGroups(linear, scheme, group_of));
  const int bits = scheme.bits;
  const int64_t n = linear.out_features, k = linear.in_features;
  QuantizedRows rows = RoomFor(scheme, n, k);
  if (scheme.ordered_groups) rows.group_of = std::move(group_of);
  const std::vector<uint32_t> weights = ValuesOf<uint32_t>(tensors[kWeights]);
  const std::vector<uint32_t> zeros = ValuesOf<uint32_t>(tensors[kZeros]);
  rows.scales = ValuesByGroup(tensors[kScales], n, scheme.scale_dtype);
  const int64_t words_per_row = WordsFor(k, bits), words_per_group = WordsFor(n, bits);
  const uint32_t less = scheme.layout == kGptqV2 ? 0 : 1;
  std::vector<uint32_t> row(static_cast<size_t>(words_per_row));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t word = 0; word < words_per_row; ++word) {
      row[static_cast<size_t>(word)] = weights[static_cast<size_t>(word * n + i)];
    }
    for (int64_t j = 0; j < k; ++j) {
      rows.codes[static_cast<size_t>(i * k + j)] = Signed(CodeAt(row.data(), j, bits), bits);
    }
    for (int64_t group = 0; group < rows.groups; ++group) {
      const auto at = static_cast<size_t>(i * rows.groups + group);
      const uint32_t stored = CodeAt(zeros.data() + group * words_per_group, i, bits);
      const int8_t zero = Signed((stored + less) & ((1U << bits) - 1), bits);
      if (scheme.symmetric && zero != 0) {
        return IsNot(kWhat, linear, absl::StrCat("zero point ", zero, " of output ", i),
                     "0: the scheme is symmetric");
      }
      if (!scheme.symmetric) rows.zeros[at] = zero;
    }
  }
  return rows;
}

const Format kGptqFormat = {
    .name = "gptq",
    .summary = "safetensors with 2-, 3-, 4- and 8-bit weights as GPTQModel and AutoGPTQ pack them",
    .loaders = kLoaders,
    .accepts = GptqAccepts,
    .tensors = Tensors,
    .row_alignment = nullptr,
    .pack = nullptr,
    .constants = Constants,
    .config = GptqConfig,
    .unpack = UnpackGptq,
    .settle = Settle,
    .stripes = Stripes,
    .pack_stripe = PackStripe,
};

}  // namespace quantd
