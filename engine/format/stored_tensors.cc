#include "engine/format/stored_tensors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {

std::vector<std::byte> NarrowedBytes(std::span<const float> values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(SizeOf(dtype)));
  NarrowFromF32(values.data(), static_cast<int64_t>(values.size()), dtype, bytes.data());
  return bytes;
}

std::vector<std::byte> BytesByGroup(std::span<const float> values, int64_t rows, DType dtype) {
  const auto height = static_cast<size_t>(rows), groups = values.size() / height;
  std::vector<float> turned(values.size());
  for (size_t n = 0; n < height; ++n) {
    for (size_t group = 0; group < groups; ++group) {
      turned[group * height + n] = values[n * groups + group];
    }
  }
  return NarrowedBytes(turned, dtype);
}

std::vector<float> ValuesByGroup(std::span<const std::byte> bytes, int64_t rows, DType dtype) {
  const size_t count = bytes.size() / static_cast<size_t>(SizeOf(dtype));
  const auto height = static_cast<size_t>(rows), groups = count / height;
  std::vector<float> turned(count), values(count);
  WidenToF32(bytes.data(), dtype, static_cast<int64_t>(count), turned.data());
  for (size_t n = 0; n < height; ++n) {
    for (size_t group = 0; group < groups; ++group) {
      values[n * groups + group] = turned[group * height + n];
    }
  }
  return values;
}

absl::Status IsNot(std::string_view what, const LinearSpec& linear, std::string got,
                   std::string wanted) {
  return MakeError(
      Reason::kModelCorrupt, absl::StrCat("not ", ToAbsl(what)),
      Violation{.where = linear.name, .got = std::move(got), .wanted = std::move(wanted)});
}

absl::Status CheckSizes(std::string_view what, const LinearSpec& linear,
                        std::span<const TensorInfo> infos,
                        std::span<const std::span<const std::byte>> tensors) {
  if (tensors.size() != infos.size()) {
    return IsNot(what, linear, absl::StrCat(tensors.size(), " tensors"),
                 absl::StrCat(infos.size()));
  }
  for (size_t i = 0; i < infos.size(); ++i) {
    if (static_cast<int64_t>(tensors[i].size()) == infos[i].bytes()) continue;
    return IsNot(what, linear, absl::StrCat(infos[i].name, " of ", tensors[i].size(), " bytes"),
                 absl::StrCat(infos[i].bytes()));
  }
  return absl::OkStatus();
}

}  // namespace quantd
