#include "engine/format/awq.h"

#include <algorithm>
#include <array>
#include <string>
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
     "with GPTQModel: 4 bits, one group size for all; N a multiple of 8; no output head"},
    {"vllm", kVllmVersions,
     "4 bits, one group size for all, 32, 64 or 128 or one per channel; N and K multiples of 8 on "
     "each device; q, k, v alike or none; gate and up alike or none; no output head; experts: "
     "hidden size a multiple of 128"},
    {"sglang", kSglangVersions,
     "4 bits, one group size for all, 32, 64 or 128 or one per channel; N a multiple of 64 and K "
     "of 128; q, k, v alike or none; gate and up alike or none; no output head"},
};

constexpr int kBits = 4;
constexpr int64_t kPerWord = 8;
// The nibble of a word in which output 8 c + j lies.
constexpr std::array<int, kPerWord> kNibbleOf = {0, 4, 1, 5, 2, 6, 3, 7};
// Inputs of one stripe.
constexpr int64_t kStripeInputs = 256;

enum Part : size_t { kWeights, kZeros, kScales };

std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  const int64_t n = linear.out_features, k = linear.in_features;
  const int64_t groups = scheme.GroupsPerRow(k);
  return {{"qweight", DType::kI32, {k, n / kPerWord}},
          {"qzeros", DType::kI32, {groups, n / kPerWord}},
          {"scales", scheme.scale_dtype, {groups, n}}};
}

// values[rows, width] (row by row; columns [begin, end)) as words [end - begin, rows / 8].
std::vector<uint32_t> PackAcross(const int8_t* values, int64_t rows, int64_t width, int64_t begin,
                                 int64_t end) {
  const int64_t words_per_column = rows / kPerWord;
  std::vector<uint32_t> words(static_cast<size_t>((end - begin) * words_per_column));
  for (int64_t word = 0; word < words_per_column; ++word) {
    const int8_t* block = values + word * kPerWord * width;
    for (int64_t column = begin; column < end; ++column) {
      uint32_t packed = 0;
      for (int64_t j = 0; j < kPerWord; ++j) {
        packed |= Unsigned(block[j * width + column], kBits)
                  << (kBits * kNibbleOf[static_cast<size_t>(j)]);
      }
      words[static_cast<size_t>((column - begin) * words_per_column + word)] = packed;
    }
  }
  return words;
}

// The other way: words [width, rows / 8] to values [rows, width].
void UnpackAcross(const std::vector<uint32_t>& words, int64_t rows, int64_t width, int8_t* values) {
  const int64_t words_per_column = rows / kPerWord;
  for (int64_t word = 0; word < words_per_column; ++word) {
    int8_t* block = values + word * kPerWord * width;
    for (int64_t column = 0; column < width; ++column) {
      const uint32_t packed = words[static_cast<size_t>(column * words_per_column + word)];
      for (int64_t j = 0; j < kPerWord; ++j) {
        const uint32_t code = packed >> (kBits * kNibbleOf[static_cast<size_t>(j)]) & 15U;
        block[j * width + column] = Signed(code, kBits);
      }
    }
  }
}

PackedPiece PackZeros(const QuantizedRows& all) {
  // Symmetric: zero points in the middle.
  const std::vector<int8_t> middle(all.zeros.empty() ? all.scales.size() : 0, 0);
  const std::vector<int8_t>& zeros = all.zeros.empty() ? middle : all.zeros;
  return {kZeros, 0,
          BytesOf<uint32_t>(PackAcross(zeros.data(), all.rows, all.groups, 0, all.groups))};
}

int64_t Stripes(const LinearSpec& linear, const Scheme& /*scheme*/) {
  return DivideRoundingUp(linear.in_features, kStripeInputs);
}

std::vector<PackedPiece> PackStripe(const LinearSpec& linear, const Scheme& scheme,
                                    const QuantizedRows& all, int64_t stripe) {
  const int64_t begin = stripe * kStripeInputs;
  const int64_t end = std::min(linear.in_features, begin + kStripeInputs);
  const std::vector<uint32_t> words =
      PackAcross(all.codes.data(), all.rows, all.columns, begin, end);
  std::vector<PackedPiece> pieces;
  pieces.push_back({kWeights, begin * (all.rows / kPerWord) * 4, BytesOf<uint32_t>(words)});
  if (stripe > 0) return pieces;
  pieces.push_back(PackZeros(all));
  pieces.push_back({kScales, 0, BytesByGroup(all.scales, all.rows, scheme.scale_dtype)});
  return pieces;
}

std::vector<PackedPiece> Constants(const LinearSpec& /*linear*/, const Scheme& /*scheme*/,
                                   const std::optional<StaticInput>& /*input*/) {
  return {};
}

void Settle(std::span<ResolvedLinear> linears, const ModelSpec& /*model*/) {
  for (ResolvedLinear& resolved : linears) {
    if (resolved.scheme.has_value()) resolved.scheme->scale_dtype = DType::kF16;
  }
}

// The whole checkpoint has one group size: the first linear's.
const ResolvedLinear* FirstQuantized(std::span<const ResolvedLinear> linears) {
  for (const ResolvedLinear& resolved : linears) {
    if (resolved.scheme.has_value()) return &resolved;
  }
  return nullptr;
}

void CheckFormat(const ServedLinear& served, std::vector<Violation>* violations) {
  const LinearSpec& linear = *served.resolved.linear;
  const Scheme& scheme = *served.resolved.scheme;
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  if (scheme.bits != kBits) {
    wrong(absl::StrCat("bits ", scheme.bits), "bits 4, or format gptq or compressed-tensors");
  }
  CheckIntegerZeros(linear, scheme, violations);
  CheckWeightsAlone(linear, scheme, violations);
  CheckNeighbouringGroups(linear, scheme, violations);
  if (linear.out_features % kPerWord != 0) {
    wrong(absl::StrCat(linear.out_features, " outputs"),
          "a multiple of 8; skip the module, or choose format compressed-tensors");
  }
  if (linear.role == LinearRole::kHead) {
    wrong("a scheme for the output head", "skip: no loader of AWQ reads one");
  }
  const ResolvedLinear& first = *FirstQuantized(served.linears);
  if (first.scheme->granularity != scheme.granularity ||
      first.scheme->group_size != scheme.group_size) {
    wrong(SchemeText(scheme),
          absl::StrCat("the group size of ", first.linear->name, " (", first.scheme->group_size,
                       "): the format has one for all"));
  }
}

// Codes are packed along the outputs; engines pack them along the inputs anew.
void CheckWords(const ServedLinear& served, std::vector<Violation>* violations) {
  const LinearCut cut = CutOf(served);
  CheckWholeWords(served, cut.outputs, "outputs", violations);
  CheckWholeWords(served, cut.inputs, "inputs", violations);
}

absl::Status Accepts(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                     const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckTarget(kAwqFormat, target));
  std::vector<Violation> holds, loads;
  for (const ResolvedLinear& resolved : linears) {
    const ServedLinear served = {linears, model, resolved, target.tensor_parallel};
    if (IsServingEngine(target)) CheckFusion(served, &loads);
    if (!resolved.scheme.has_value()) continue;
    CheckFormat(served, &holds);
    CheckStoredOrder(served, &holds);
    if (!IsServingEngine(target)) continue;
    CheckParts(served, &loads);
    CheckKernelShapes(served, MarlinShapes(target, *resolved.linear), &loads);
    CheckWords(served, &loads);
  }
  QD_RETURN_IF_ERROR(
      Verdict(Reason::kFormatCannotHold, "awq cannot hold the recipe", std::move(holds)));
  return LoaderVerdict(kAwqFormat, target, std::move(loads));
}

// Loaders skip a module whose name contains an entry; the head is never converted.
Json Config(std::span<const ResolvedLinear> linears, const ModelSpec& model) {
  const ResolvedLinear* first = FirstQuantized(linears);
  if (first == nullptr) return nullptr;
  Json skipped = Json::array();
  for (const std::string& module : model.carried_modules) skipped.push_back(module);
  for (const std::string& module : model.dense_modules) skipped.push_back(module);
  for (const ResolvedLinear& resolved : linears) {
    const bool is_head = resolved.linear->role == LinearRole::kHead;
    if (!resolved.scheme.has_value() && !is_head) skipped.push_back(resolved.linear->name);
  }
  const Scheme& scheme = *first->scheme;
  const bool grouped = scheme.granularity == Granularity::kGroup;
  return {{"quant_method", "awq"},
          {"bits", kBits},
          {"group_size", grouped ? scheme.group_size : int64_t{-1}},
          {"zero_point", true},
          {"version", "gemm"},
          {"modules_to_not_convert", skipped.empty() ? Json(nullptr) : std::move(skipped)}};
}

constexpr std::string_view kWhat = "an AWQ linear";

}  // namespace

absl::StatusOr<QuantizedRows> UnpackAwq(const LinearSpec& linear, const Scheme& scheme,
                                        std::span<const std::span<const std::byte>> tensors) {
  if (linear.out_features % kPerWord != 0) {
    return IsNot(kWhat, linear, absl::StrCat(linear.out_features, " outputs"), "a multiple of 8");
  }
  QD_RETURN_IF_ERROR(CheckSizes(kWhat, linear, Tensors(linear, scheme), tensors));
  QuantizedRows rows = RoomFor(scheme, linear.out_features, linear.in_features);
  UnpackAcross(ValuesOf<uint32_t>(tensors[kWeights]), rows.rows, rows.columns, rows.codes.data());
  std::vector<int8_t> zeros(rows.scales.size());
  UnpackAcross(ValuesOf<uint32_t>(tensors[kZeros]), rows.rows, rows.groups, zeros.data());
  rows.scales = ValuesByGroup(tensors[kScales], rows.rows, scheme.scale_dtype);
  for (size_t at = 0; scheme.symmetric && at < zeros.size(); ++at) {
    if (zeros[at] == 0) continue;
    const size_t output = at / static_cast<size_t>(rows.groups);
    return IsNot(kWhat, linear, absl::StrCat("zero point ", zeros[at], " of output ", output),
                 "0: the scheme is symmetric");
  }
  if (!scheme.symmetric) rows.zeros = std::move(zeros);
  return rows;
}

const Format kAwqFormat = {
    .name = "awq",
    .summary = "safetensors with 4-bit weights and zero points as AutoAWQ packs them (GEMM)",
    .loaders = kLoaders,
    .accepts = Accepts,
    .tensors = Tensors,
    .row_alignment = nullptr,
    .pack = nullptr,
    .constants = Constants,
    .config = Config,
    .unpack = UnpackAwq,
    .settle = Settle,
    .stripes = Stripes,
    .pack_stripe = PackStripe,
};

}  // namespace quantd
