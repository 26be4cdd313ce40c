#include "engine/format/hqq.h"

#include <algorithm>
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
    {"transformers4", "4.54 to 4.57 with hqq 0.2.8",
     "1, 2, 3, 4, 5, 6 and 8 bits; the groups of a linear, or with axis 0 the weights of a group, "
     "a multiple of 8 / bits"},
    {"hqq", "0.2.8", "the library alone, linear by linear: the same"},
};
// By the sources of transformers 5.24 and vLLM 0.32, and tried (tests/interop).
constexpr std::string_view kUnread =
    "transformers 5 has no loader for it and runs the model with random weights and a warning, "
    "vLLM and SGLang know no such method";

// Rows of the grouped matrix [rows, width] are cut into `parts` blocks that lie over each other in
// one element of the packed matrix; the first block is in its highest bits.
struct Packing {
  std::string_view name;
  DType dtype;
  int parts, bits;
};

Packing PackingOf(int bits) {
  switch (bits) {
    case 1:
      return {"1bit_u8", DType::kU8, 8, 1};
    case 2:
      return {"2bit_u8", DType::kU8, 4, 2};
    case 3:
      return {"3bit_32", DType::kI32, 10, 3};
    case 4:
      return {"4bit_u8", DType::kU8, 2, 4};
    default:
      return {"8bit_u8", DType::kU8, 1, 8};
  }
}

bool GroupsAreColumns(const Scheme& scheme) {
  const Options::Map& options = scheme.options.values();
  return options.contains("axis") && scheme.options.Integer("axis") == 0;
}

// The grouped matrix has the weights in the order of the linear: [weights / group, group], or with
// axis 0 [group, weights / group].
struct Grouped {
  int64_t group = 0, rows = 0, width = 0;
  int64_t packed_rows(int parts) const { return DivideRoundingUp(rows, parts); }
};

Grouped GroupedOf(const LinearSpec& linear, const Scheme& scheme) {
  const int64_t group =
      scheme.granularity == Granularity::kGroup ? scheme.group_size : linear.in_features;
  const int64_t groups = linear.parameters() / group;
  return GroupsAreColumns(scheme) ? Grouped{group, group, groups} : Grouped{group, groups, group};
}

enum Part : size_t { kWeights, kScale, kZero, kShape, kFirstWord };

// The integers and texts beside the tensors, which the library needs to rebuild the module.
struct Word {
  std::string_view name;
  DType dtype;
  std::string text;    // of U8 tensors with a length
  int64_t number = 0;  // of scalars
};

std::vector<Word> WordsOf(const LinearSpec& linear, const Scheme& scheme) {
  const Packing packing = PackingOf(scheme.bits);
  const auto flag = [](std::string_view name, bool value) {
    return Word{name, DType::kU8, "", value ? 1 : 0};
  };
  return {{"nbits", DType::kI32, "", scheme.bits},
          {"group_size", DType::kI32, "", GroupedOf(linear, scheme).group},
          {"axis", DType::kI32, "", GroupsAreColumns(scheme) ? 0 : 1},
          {"packing", DType::kU8, std::string(packing.name)},
          {"unpack_view_dtype", DType::kU8,
           packing.dtype == DType::kI32 ? "torch.int32" : "torch.uint8"},
          {"compute_dtype", DType::kU8, "torch." + std::string(TorchNameOf(scheme.scale_dtype))},
          flag("view_as_float", false),
          flag("quant_scale", false),
          flag("quant_zero", false),
          flag("offload_meta", false),
          flag("encoded_state_dict", true),
          flag("stores_quant_config", true),
          flag("channel_wise", true),
          flag("optimize", true),
          flag("round_zero", scheme.bits == 4)};
}

std::vector<TensorInfo> Tensors(const LinearSpec& linear, const Scheme& scheme) {
  const Packing packing = PackingOf(scheme.bits);
  const Grouped grouped = GroupedOf(linear, scheme);
  const std::vector<int64_t> of_groups = GroupsAreColumns(scheme)
                                             ? std::vector<int64_t>{1, grouped.width}
                                             : std::vector<int64_t>{grouped.rows, 1};
  std::vector<TensorInfo> tensors = {
      {"W_q", packing.dtype, {grouped.packed_rows(packing.parts), grouped.width}},
      {"scale", scheme.scale_dtype, of_groups},
      {"zero", scheme.scale_dtype, of_groups},
      {"shape", DType::kI64, {2}}};
  for (const Word& word : WordsOf(linear, scheme)) {
    TensorInfo& info = tensors.emplace_back();
    info.name = word.name;
    info.dtype = word.dtype;
    if (!word.text.empty()) info.shape = {static_cast<int64_t>(word.text.size())};
  }
  return tensors;
}

// Packed elements of one stripe.
constexpr int64_t kStripeElements = 256 << 10;

int64_t Stripes(const LinearSpec& linear, const Scheme& scheme) {
  const Grouped grouped = GroupedOf(linear, scheme);
  const int64_t elements = grouped.packed_rows(PackingOf(scheme.bits).parts) * grouped.width;
  return DivideRoundingUp(elements, kStripeElements);
}

// Elements [begin, end) of the packed matrix.
template <typename Element>
std::vector<std::byte> PackElements(const Scheme& scheme, const Grouped& grouped,
                                    const QuantizedRows& all, int64_t begin, int64_t end) {
  const Packing packing = PackingOf(scheme.bits);
  const int64_t block = grouped.packed_rows(packing.parts) * grouped.width;
  const int64_t codes = static_cast<int64_t>(all.codes.size());
  std::vector<Element> packed(static_cast<size_t>(end - begin), 0);
  for (int part = 0; part < packing.parts; ++part) {
    const int shift = packing.bits * (packing.parts - 1 - part);
    // Behind the last row nothing is left but zeros (3 bits).
    const int64_t last = std::min(end, codes - part * block);
    for (int64_t at = begin; at < last; ++at) {
      const int8_t code = all.codes[static_cast<size_t>(part * block + at)];
      const uint32_t stored = Unsigned(code, scheme.bits) << shift;
      auto& element = packed[static_cast<size_t>(at - begin)];
      element = static_cast<Element>(element | stored);
    }
  }
  return BytesOf<Element>(packed);
}

// Scales and zero points in the order of the groups. With axis 0 each weight has them beside it,
// and the first weights / group are one of each group.
std::vector<PackedPiece> PackGroups(const Scheme& scheme, const Grouped& grouped,
                                    const QuantizedRows& all) {
  const auto groups = static_cast<size_t>(grouped.rows * grouped.width / grouped.group);
  std::vector<float> zeros(groups);
  const auto half = static_cast<float>(1 << (scheme.bits - 1));
  for (size_t at = 0; at < groups; ++at) {
    float zero = 0;
    if (!all.zeros.empty()) zero = static_cast<float>(all.zeros[at]);
    if (!all.real_zeros.empty()) zero = all.real_zeros[at];
    zeros[at] = zero + half;
  }
  const std::vector<float> scales(all.scales.begin(),
                                  all.scales.begin() + static_cast<std::ptrdiff_t>(groups));
  return {{kScale, 0, NarrowedBytes(scales, scheme.scale_dtype)},
          {kZero, 0, NarrowedBytes(zeros, scheme.scale_dtype)}};
}

std::vector<PackedPiece> PackStripe(const LinearSpec& linear, const Scheme& scheme,
                                    const QuantizedRows& all, int64_t stripe) {
  const Packing packing = PackingOf(scheme.bits);
  const Grouped grouped = GroupedOf(linear, scheme);
  const int64_t elements = grouped.packed_rows(packing.parts) * grouped.width;
  const int64_t begin = stripe * kStripeElements;
  const int64_t end = std::min(elements, begin + kStripeElements);
  std::vector<PackedPiece> pieces;
  pieces.push_back({kWeights, begin * SizeOf(packing.dtype),
                    packing.dtype == DType::kI32
                        ? PackElements<uint32_t>(scheme, grouped, all, begin, end)
                        : PackElements<uint8_t>(scheme, grouped, all, begin, end)});
  if (stripe > 0) return pieces;
  for (PackedPiece& piece : PackGroups(scheme, grouped, all)) pieces.push_back(std::move(piece));
  return pieces;
}

std::vector<PackedPiece> Constants(const LinearSpec& linear, const Scheme& scheme,
                                   const std::optional<StaticInput>& /*input*/) {
  const std::vector<int64_t> shape = {linear.out_features, linear.in_features};
  std::vector<PackedPiece> pieces = {{kShape, 0, BytesOf<int64_t>(shape)}};
  size_t index = kFirstWord;
  for (const Word& word : WordsOf(linear, scheme)) {
    PackedPiece& piece = pieces.emplace_back();
    piece.index = index++;
    if (!word.text.empty()) {
      piece.bytes = BytesOf<char>(word.text);
    } else if (word.dtype == DType::kI32) {
      piece.bytes = BytesOf<int32_t>(std::vector<int32_t>{static_cast<int32_t>(word.number)});
    } else {
      piece.bytes = {static_cast<std::byte>(word.number)};
    }
  }
  return pieces;
}

void CheckFormat(const LinearSpec& linear, const Scheme& scheme,
                 std::vector<Violation>* violations) {
  const auto wrong = [&](std::string got, std::string wanted) {
    violations->push_back({linear.name, std::move(got), std::move(wanted)});
  };
  if (scheme.bits == 7) wrong("bits 7", "bits 1, 2, 3, 4, 5, 6 or 8");
  CheckWeightsAlone(linear, scheme, violations);
  CheckNeighbouringGroups(linear, scheme, violations);
  if (scheme.granularity == Granularity::kTensor) return;
  const Packing packing = PackingOf(scheme.bits);
  const Grouped grouped = GroupedOf(linear, scheme);
  if (packing.dtype == DType::kU8 && grouped.rows % packing.parts != 0) {
    wrong(absl::StrCat(grouped.rows, GroupsAreColumns(scheme) ? " weights of a group" : " groups",
                       " in ", scheme.bits, " bits"),
          absl::StrCat("a multiple of ", packing.parts, ": another group_size, or skip"));
  }
}

// Formats that the engines of today read and that hold what this one holds.
std::string_view HeldBy(std::span<const ResolvedLinear> linears) {
  const bool real_zeros =
      std::any_of(linears.begin(), linears.end(), [](const ResolvedLinear& resolved) {
        return resolved.scheme.has_value() && resolved.scheme->real_zero;
      });
  return real_zeros
             ? "format dequantized holds the same weights; with integer zero points (methods "
               "rtn, awq, gptq, awq+gptq) compressed-tensors and gptq hold the codes"
             : "format compressed-tensors (2 to 8 bits) or gptq (2, 3, 4, 8 bits) holds the "
               "same codes";
}

absl::Status CheckLoader(std::span<const ResolvedLinear> linears, const LoaderTarget& target) {
  const bool reads = std::any_of(std::begin(kLoaders), std::end(kLoaders),
                                 [&](const LoaderRow& row) { return row.name == target.name; });
  const bool is_engine = target.name == "transformers" || IsServingEngine(target);
  if (reads || !is_engine) return CheckTarget(kHqqFormat, target);
  return MakeError(
      Reason::kLoaderRefuses, absl::StrCat("hqq is not read: ", ToAbsl(kUnread)),
      {.where = "output.loader",
       .got = std::string(target.name),
       .wanted = absl::StrCat("transformers4 (below 5), hqq, or none; ", ToAbsl(HeldBy(linears)))});
}

std::vector<std::string> Caveats(std::span<const ResolvedLinear> linears,
                                 const LoaderTarget& target) {
  if (!target.name.empty()) return {};
  return {absl::StrCat("format hqq is read by transformers below 5 and by the hqq library: ",
                       ToAbsl(kUnread), "; ", ToAbsl(HeldBy(linears)))};
}

absl::Status Accepts(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                     const LoaderTarget& target) {
  QD_RETURN_IF_ERROR(CheckLoader(linears, target));
  std::vector<Violation> holds;
  for (const ResolvedLinear& resolved : linears) {
    const ServedLinear served = {linears, model, resolved, target.tensor_parallel};
    CheckTiedHead(served, &holds);
    CheckStoredOrder(served, &holds);
    if (resolved.scheme.has_value()) CheckFormat(*resolved.linear, *resolved.scheme, &holds);
  }
  return Verdict(Reason::kFormatCannotHold, "hqq cannot hold the recipe", std::move(holds));
}

// The library reads the parameters of each linear beside its codes; these are of the first, for
// people and for programs that look here alone. A module is skipped if its name contains an entry.
Json Config(std::span<const ResolvedLinear> linears, const ModelSpec& model) {
  const ResolvedLinear* first = nullptr;
  Json skipped = Json::array();
  for (const std::string& module : model.carried_modules) skipped.push_back(module);
  for (const std::string& module : model.dense_modules) skipped.push_back(module);
  for (const ResolvedLinear& resolved : linears) {
    if (!resolved.scheme.has_value()) {
      skipped.push_back(resolved.linear->name);
    } else if (first == nullptr) {
      first = &resolved;
    }
  }
  if (first == nullptr) return nullptr;
  const Scheme& scheme = *first->scheme;
  return {{"quant_method", "hqq"},
          {"quant_config",
           {{"weight_quant_params",
             {{"nbits", scheme.bits},
              {"channel_wise", true},
              {"group_size", GroupedOf(*first->linear, scheme).group},
              {"optimize", true},
              {"round_zero", scheme.bits == 4},
              {"axis", GroupsAreColumns(scheme) ? 0 : 1},
              {"view_as_float", false}}},
            {"scale_quant_params", nullptr},
            {"zero_quant_params", nullptr},
            {"offload_meta", false}}},
          {"skip_modules", std::move(skipped)}};
}

template <typename Element>
void UnpackElements(const Scheme& scheme, const Grouped& grouped, std::span<const std::byte> bytes,
                    std::vector<int8_t>* codes) {
  const Packing packing = PackingOf(scheme.bits);
  const std::vector<Element> packed = ValuesOf<Element>(bytes);
  const auto block = static_cast<size_t>(grouped.packed_rows(packing.parts) * grouped.width);
  const uint32_t mask = (1U << packing.bits) - 1;
  for (size_t at = 0; at < codes->size(); ++at) {
    const int shift = packing.bits * (packing.parts - 1 - static_cast<int>(at / block));
    const uint32_t stored = static_cast<uint32_t>(packed[at % block]) >> shift & mask;
    (*codes)[at] = Signed(stored, scheme.bits);
  }
}

}  // namespace

absl::StatusOr<QuantizedRows> UnpackHqq(const LinearSpec& linear, const Scheme& scheme,
                                        std::span<const std::span<const std::byte>> tensors) {
  const std::vector<TensorInfo> infos = Tensors(linear, scheme);
  for (const size_t part : {kWeights, kScale, kZero}) {
    const auto wanted = static_cast<size_t>(infos[part].bytes());
    if (part < tensors.size() && tensors[part].size() == wanted) continue;
    return IsNot("an HQQ linear", linear,
                 part < tensors.size()
                     ? absl::StrCat(infos[part].name, " of ", tensors[part].size(), " bytes")
                     : "no " + infos[part].name,
                 absl::StrCat(wanted));
  }
  const Grouped grouped = GroupedOf(linear, scheme);
  QuantizedRows rows = {.rows = linear.out_features,
                        .columns = linear.in_features,
                        .groups = linear.in_features / grouped.group,
                        .codes = {},
                        .scales = {},
                        .zeros = {},
                        .real_zeros = {},
                        .group_of = {},
                        .block = nullptr,
                        .blocks = {},
                        .input = {}};
  rows.codes.resize(static_cast<size_t>(linear.parameters()));
  if (PackingOf(scheme.bits).dtype == DType::kI32) {
    UnpackElements<uint32_t>(scheme, grouped, tensors[kWeights], &rows.codes);
  } else {
    UnpackElements<uint8_t>(scheme, grouped, tensors[kWeights], &rows.codes);
  }
  const int64_t groups = linear.parameters() / grouped.group;
  rows.scales.resize(static_cast<size_t>(groups));
  rows.real_zeros.resize(static_cast<size_t>(groups));
  WidenToF32(tensors[kScale].data(), scheme.scale_dtype, groups, rows.scales.data());
  WidenToF32(tensors[kZero].data(), scheme.scale_dtype, groups, rows.real_zeros.data());
  const auto half = static_cast<float>(1 << (scheme.bits - 1));
  for (float& zero : rows.real_zeros) zero -= half;
  if (!GroupsAreColumns(scheme)) return rows;
  rows.groups = linear.in_features;
  for (std::vector<float>* values : {&rows.scales, &rows.real_zeros}) {
    values->resize(static_cast<size_t>(linear.parameters()));
    for (auto to = values->begin() + groups; to != values->end(); to += groups) {
      std::copy(values->begin(), values->begin() + groups, to);
    }
  }
  return rows;
}

const Format kHqqFormat = {
    .name = "hqq",
    .summary =
        "safetensors with 1- to 8-bit weights and real zero points, for transformers 4 + hqq",
    .loaders = kLoaders,
    .accepts = Accepts,
    .tensors = Tensors,
    .row_alignment = nullptr,
    .pack = nullptr,
    .constants = Constants,
    .config = Config,
    .unpack = UnpackHqq,
    .settle = nullptr,
    .stripes = Stripes,
    .pack_stripe = PackStripe,
    .caveats = Caveats,
};

}  // namespace quantd
