#include "engine/convert/stored_rows.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/format/awq.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/gptq.h"
#include "engine/format/packed_words.h"
#include "engine/format/stored_tensors.h"
#include "engine/tensor/tensor.h"

namespace quantd {
namespace {

absl::Status CannotHold(const std::string& where, std::string got, std::string wanted) {
  return MakeError(Reason::kFormatCannotHold, "not without loss",
                   Violation{.where = where, .got = std::move(got), .wanted = std::move(wanted)});
}

const Format& FormatOf(Layout layout) {
  if (layout == Layout::kAwqGemm) return kAwqFormat;
  return layout == Layout::kGptq ? kGptqFormat : kCompressedTensors;
}

// g_idx as 32-bit integers, whatever the file has.
std::vector<std::byte> Narrowed(std::span<const std::byte> wide) {
  std::vector<int32_t> narrow;
  for (const int64_t index : ValuesOf<int64_t>(wide)) {
    narrow.push_back(index >= 0 && index <= INT32_MAX ? static_cast<int32_t>(index) : -1);
  }
  return BytesOf<int32_t>(narrow);
}

}  // namespace

absl::Status CheckConvertible(const StoredModule& module) {
  switch (module.layout) {
    case Layout::kPackQuantized:
    case Layout::kAwqGemm:
    case Layout::kGptq:
      break;
    case Layout::kHqq:
      return CannotHold(module.name, "hqq: real zero points", "integer zero points");
    case Layout::kIntQuantized:
      return CannotHold(module.name, "int8 weights for int8 inputs",
                        "weights alone: no other layout has such inputs");
    default:
      return CannotHold(module.name, std::string(NameOf(module.layout)),
                        "awq gemm, gptq or pack-quantized");
  }
  if (module.Part("weight_g_idx") != nullptr) {
    return CannotHold(module.name, "reordered inputs (weight_g_idx)", "groups of neighbours");
  }
  if (module.layout == Layout::kPackQuantized && HasGaps(module)) {
    return CannotHold(module.name,
                      absl::StrCat(module.scheme.bits, " bits in words with unused bits"),
                      "codes packed without gaps, as compressed-tensors does from 0.18 on");
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizedRows> ReadRows(const TensorFolder& folder, const StoredModule& module,
                                       const LinearSpec& linear) {
  const Format& format = FormatOf(module.layout);
  std::vector<AlignedBuffer<std::byte>> read;
  std::vector<std::vector<std::byte>> made;
  std::vector<std::span<const std::byte>> tensors;
  const std::vector<TensorInfo> parts = format.tensors(linear, module.scheme);
  read.reserve(parts.size());
  made.reserve(parts.size());
  for (const TensorInfo& part : parts) {
    const FolderTensor* tensor = module.Part(part.name);
    if (tensor == nullptr) {
      // Without g_idx the groups are of neighbours: what the file would say.
      made.push_back(BytesOf<int32_t>(NeighbouringGroups(linear, module.scheme)));
      tensors.emplace_back(made.back());
      continue;
    }
    QD_ASSIGN_OR_RETURN(AlignedBuffer<std::byte> bytes, folder.ReadAll(*tensor));
    read.push_back(std::move(bytes));
    tensors.emplace_back(read.back().span());
    if (part.name == "g_idx" && tensor->info.dtype == DType::kI64) {
      made.push_back(Narrowed(tensors.back()));
      tensors.back() = made.back();
    }
  }
  if (module.layout == Layout::kAwqGemm) return UnpackAwq(linear, module.scheme, tensors);
  if (module.layout == Layout::kPackQuantized) {
    return UnpackPackQuantized(linear, module.scheme, tensors);
  }
  return UnpackGptq(linear, module.scheme, tensors);
}

absl::StatusOr<QuantizedRows> UnpackPackQuantized(
    const LinearSpec& linear, const Scheme& scheme,
    std::span<const std::span<const std::byte>> tensors) {
  const int bits = scheme.bits;
  const int64_t n = linear.out_features, k = linear.in_features;
  QuantizedRows rows = RoomFor(scheme, n, k);
  const std::vector<TensorInfo> infos = kCompressedTensors.tensors(linear, scheme);
  for (size_t i = 0; i < infos.size(); ++i) {
    if (i < tensors.size() && static_cast<int64_t>(tensors[i].size()) == infos[i].bytes()) continue;
    return MakeError(Reason::kModelCorrupt, "not a packed linear",
                     Violation{.where = linear.name + "." + infos[i].name,
                               .got = "another size",
                               .wanted = absl::StrCat(infos[i].bytes(), " bytes")});
  }
  const std::vector<uint32_t> words = ValuesOf<uint32_t>(tensors[0]);
  const int64_t words_per_row = WordsFor(k, bits);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t i = 0; i < k; ++i) {
      rows.codes[static_cast<size_t>(row * k + i)] =
          Signed(CodeAt(words.data() + row * words_per_row, i, bits), bits);
    }
  }
  WidenToF32(tensors[1].data(), scheme.scale_dtype, static_cast<int64_t>(rows.scales.size()),
             rows.scales.data());
  if (scheme.symmetric) return rows;
  const std::vector<uint32_t> zeros = ValuesOf<uint32_t>(tensors[2]);
  std::vector<uint32_t> stream(static_cast<size_t>(WordsFor(n, bits)));
  for (int64_t group = 0; group < rows.groups; ++group) {
    for (size_t word = 0; word < stream.size(); ++word) {
      stream[word] = zeros[word * static_cast<size_t>(rows.groups) + static_cast<size_t>(group)];
    }
    for (int64_t row = 0; row < n; ++row) {
      rows.zeros[static_cast<size_t>(row * rows.groups + group)] =
          Signed(CodeAt(stream.data(), row, bits), bits);
    }
  }
  return rows;
}

absl::Status Adapt(const LinearSpec& linear, const Scheme& from, const Scheme& to,
                   QuantizedRows* rows) {
  if (from.symmetric && !to.symmetric) rows->zeros.assign(rows->scales.size(), 0);
  if (from.scale_dtype == to.scale_dtype) return absl::OkStatus();
  const std::vector<std::byte> narrow = NarrowedBytes(rows->scales, to.scale_dtype);
  const auto count = static_cast<int64_t>(rows->scales.size());
  std::vector<float> again(rows->scales.size());
  WidenToF32(narrow.data(), to.scale_dtype, count, again.data());
  int64_t rounded = 0;
  for (size_t i = 0; i < again.size(); ++i) rounded += again[i] == rows->scales[i] ? 0 : 1;
  if (rounded == 0) return absl::OkStatus();
  return CannotHold(
      linear.name,
      absl::StrCat(rounded, " of ", count, " scales in ", ToAbsl(NameOf(from.scale_dtype)),
                   " that ", ToAbsl(NameOf(to.scale_dtype)), " would round"),
      "scales that fit");
}

std::vector<std::vector<std::byte>> PackLinear(const Format& format, const LinearSpec& linear,
                                               const Scheme& scheme, const QuantizedRows& rows) {
  std::vector<std::vector<std::byte>> tensors;
  for (const TensorInfo& info : format.tensors(linear, scheme)) {
    tensors.emplace_back(static_cast<size_t>(info.bytes()));
  }
  const auto place = [&](const std::vector<PackedPiece>& pieces) {
    for (const PackedPiece& piece : pieces) {
      if (piece.bytes.empty()) continue;
      std::memcpy(tensors[piece.index].data() + piece.offset, piece.bytes.data(),
                  piece.bytes.size());
    }
  };
  if (format.pack != nullptr) {
    place(format.pack(linear, scheme, 0, rows));
  } else {
    const int64_t stripes = format.stripes(linear, scheme);
    for (int64_t stripe = 0; stripe < stripes; ++stripe) {
      place(format.pack_stripe(linear, scheme, rows, stripe));
    }
  }
  place(format.constants(linear, scheme, rows.input));
  return tensors;
}

}  // namespace quantd
