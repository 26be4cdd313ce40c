#include "engine/run/kept_rows.h"

#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "engine/run/tensor_bundle.h"

namespace quantd {
namespace {

// The lists that rows and transforms are made of, each by its name: the one place that knows all.
template <typename Rows, typename Visit>
void ForEachListOfRows(Rows& rows, const Visit& visit) {
  visit("codes", rows.codes);
  visit("scales", rows.scales);
  visit("zeros", rows.zeros);
  visit("real_zeros", rows.real_zeros);
  visit("group_of", rows.group_of);
  visit("blocks", rows.blocks);
}

template <typename T>
std::span<const std::byte> BytesOf(const std::vector<T>& list) {
  return std::as_bytes(std::span(list));
}

// "rows.3.codes"
struct PieceName {
  std::string kind, list;
  size_t linear = 0;
};

std::optional<PieceName> ParseName(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(ToAbsl(text), absl::MaxSplits('.', 2));
  uint64_t linear = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &linear)) return std::nullopt;
  return PieceName{.kind = parts[0], .list = parts[2], .linear = linear};
}

// Room for what a scheme has is made beforehand; lists that depend on the data as they come.
std::vector<std::optional<QuantizedRows>> RoomForAll(std::span<const ResolvedLinear> linears) {
  std::vector<std::optional<QuantizedRows>> rows(linears.size());
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!linears[i].scheme.has_value()) continue;
    rows[i] = RoomFor(*linears[i].scheme, linears[i].linear->out_features,
                      linears[i].linear->in_features);
  }
  return rows;
}

template <typename T>
std::span<std::byte> Resized(std::vector<T>& list, int64_t bytes) {
  list.resize(static_cast<size_t>(bytes) / sizeof(T));
  return std::as_writable_bytes(std::span(list));
}

std::span<std::byte> PlaceInRows(QuantizedRows& rows, std::string_view list, int64_t bytes) {
  std::span<std::byte> place;
  ForEachListOfRows(rows, [&](std::string_view name, auto& values) {
    if (name == list) place = Resized(values, bytes);
  });
  if (list == "input" && bytes == sizeof(StaticInput)) {
    place = std::as_writable_bytes(std::span(&rows.input.emplace(), 1));
  }
  return place;
}

}  // namespace

absl::StatusOr<SealedFile> WriteKeptRows(const std::string& path, const BlockResult& result,
                                         ThreadPool& pool) {
  std::vector<BundlePiece> pieces;
  const auto add = [&](std::string name, std::span<const std::byte> bytes) {
    if (!bytes.empty()) pieces.push_back({std::move(name), bytes});
  };
  for (size_t i = 0; i < result.transform.linears.size(); ++i) {
    const Transform& transform = result.transform.linears[i];
    add(absl::StrCat("transform.", i, ".columns"), BytesOf(transform.columns));
    add(absl::StrCat("transform.", i, ".rows"), BytesOf(transform.rows));
  }
  for (const auto& [tensor, values] : result.transform.norms) {
    add(absl::StrCat("norm.0.", tensor), BytesOf(values));
  }
  for (size_t i = 0; i < result.rows.size(); ++i) {
    if (!result.rows[i].has_value()) continue;
    const QuantizedRows& rows = *result.rows[i];
    ForEachListOfRows(rows, [&](std::string_view name, const auto& values) {
      add(absl::StrCat("rows.", i, ".", ToAbsl(name)), BytesOf(values));
    });
    if (!rows.input.has_value()) continue;
    add(absl::StrCat("rows.", i, ".input"), std::as_bytes(std::span(&*rows.input, 1)));
  }
  return WriteBundle(path, pieces, pool);
}

absl::Status ReadKeptRows(const std::string& path, const PlannedQuantization& planned,
                          BlockResult& result, ThreadPool& pool) {
  const std::span<const ResolvedLinear> linears = LinearsOf(planned.plan, result.block);
  result.rows = RoomForAll(linears);
  result.transform = {};
  result.transform.linears.resize(linears.size());
  const auto place = [&](std::string_view text, int64_t bytes) -> std::span<std::byte> {
    const auto name = ParseName(text);
    if (!name.has_value() || name->linear >= linears.size()) return {};
    if (name->kind == "norm") return Resized(result.transform.norms[name->list], bytes);
    if (name->kind == "rows" && result.rows[name->linear].has_value()) {
      return PlaceInRows(*result.rows[name->linear], name->list, bytes);
    }
    if (name->kind != "transform") return {};
    Transform& transform = result.transform.linears[name->linear];
    return Resized(name->list == "rows" ? transform.rows : transform.columns, bytes);
  };
  return ReadBundle(path, place, pool);
}

}  // namespace quantd
