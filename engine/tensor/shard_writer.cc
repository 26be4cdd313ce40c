#include "engine/tensor/shard_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"

namespace quantd {
namespace {

constexpr int64_t kAlignment = 64;

absl::Status Misuse(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kInternal, "cannot write a shard",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

// Where every tensor lies within the data section.
struct Layout {
  std::vector<size_t> order;     // indices of the tensors as they lie in the file
  std::vector<int64_t> offsets;  // by index of the tensor
  int64_t bytes = 0;
};

// Places the tensors one after the other in `order`; whether each starts at a multiple of its
// element size.
bool Place(const std::vector<TensorInfo>& tensors, Layout& layout) {
  bool aligned = true;
  layout.offsets.resize(tensors.size());
  layout.bytes = 0;
  for (const size_t index : layout.order) {
    aligned = aligned && layout.bytes % SizeOf(tensors[index].dtype) == 0;
    layout.offsets[index] = layout.bytes;
    layout.bytes += tensors[index].bytes();
  }
  return aligned;
}

// The tensors keep their order, so that bytes that come in order are hashed as they come. Only if
// one would lie across its alignment, which readers that map the file refuse, do the tensors with
// larger elements go first.
Layout MakeLayout(const std::vector<TensorInfo>& tensors) {
  Layout layout;
  layout.order.resize(tensors.size());
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  if (Place(tensors, layout)) return layout;
  std::sort(layout.order.begin(), layout.order.end(), [&](size_t a, size_t b) {
    const int64_t size_a = SizeOf(tensors[a].dtype);
    const int64_t size_b = SizeOf(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : a < b;
  });
  Place(tensors, layout);
  return layout;
}

absl::Status CheckTensors(const std::string& path, const std::vector<TensorInfo>& tensors) {
  std::set<std::string_view> names;
  int64_t total = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::string where = absl::StrCat(path, ":", tensor.name);
    if (!names.insert(tensor.name).second) return Misuse(where, "the name twice", "it once");
    if (tensor.name == "__metadata__") return Misuse(where, "a reserved name", "another");
    const auto elements = CheckedProduct(tensor.shape);
    const auto bytes = elements ? CheckedMultiply(*elements, SizeOf(tensor.dtype)) : std::nullopt;
    const auto sum = bytes ? CheckedAdd(total, *bytes) : std::nullopt;
    if (!sum) {
      return Misuse(where, absl::StrCat("shape [", absl::StrJoin(tensor.shape, ", "), "]"),
                    "sizes that fit a file");
    }
    total = *sum;
  }
  return absl::OkStatus();
}

// The length and the JSON, padded with spaces so that the data starts at a multiple of 64.
std::string MakeHeader(const std::vector<TensorInfo>& tensors, const Layout& layout) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  for (const size_t index : layout.order) {
    const TensorInfo& tensor = tensors[index];
    const int64_t begin = layout.offsets[index];
    absl::StrAppend(&json, ",", DumpJson(Json(tensor.name)), R"(:{"dtype":")",
                    ToAbsl(NameOf(tensor.dtype)), R"(","shape":[)",
                    absl::StrJoin(tensor.shape, ","), R"(],"data_offsets":[)", begin, ",",
                    begin + tensor.bytes(), "]}");
  }
  json += "}";
  const auto size = static_cast<int64_t>(json.size());
  json.append(static_cast<size_t>(DivideRoundingUp(8 + size, kAlignment) * kAlignment - 8 - size),
              ' ');
  static_assert(std::endian::native == std::endian::little);
  const uint64_t length = json.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, sizeof(length));
  return header + json;
}

}  // namespace

absl::StatusOr<LaidOutFile> ShardWriter::LayOut(const std::string& name,
                                                std::vector<TensorInfo> tensors) {
  QD_RETURN_IF_ERROR(CheckTensors(name, tensors));
  const Layout layout = MakeLayout(tensors);
  LaidOutFile file;
  file.name = name;
  file.header = MakeHeader(tensors, layout);
  const auto data_begin = static_cast<int64_t>(file.header.size());
  for (size_t index = 0; index < tensors.size(); ++index) {
    file.places.push_back({.name = std::move(tensors[index].name),
                           .begin = data_begin + layout.offsets[index],
                           .bytes = tensors[index].bytes()});
  }
  file.size = data_begin + layout.bytes;
  return file;
}

absl::StatusOr<std::unique_ptr<TensorFile>> ShardWriter::Create(const std::string& path,
                                                                std::vector<TensorInfo> tensors,
                                                                Durability durability) {
  QD_ASSIGN_OR_RETURN(LaidOutFile file, LayOut(path, std::move(tensors)));
  return TensorFile::Create(path, file.header, std::move(file.places), file.size, durability);
}

}  // namespace quantd
