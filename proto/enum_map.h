// Pairs of values of an enum of ours and an enum of the wire: one table, read in both directions.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

namespace quantd {

template <typename Ours, typename Wire, size_t N>
using EnumMap = std::array<std::pair<Ours, Wire>, N>;

// The wire's value; `otherwise` if the table lacks it.
template <typename Ours, typename Wire, size_t N>
Wire ToWire(const EnumMap<Ours, Wire, N>& map, Ours value, Wire otherwise) {
  for (const auto& [ours, wire] : map) {
    if (ours == value) return wire;
  }
  return otherwise;
}

// Our value, or nothing.
template <typename Ours, typename Wire, size_t N>
std::optional<Ours> FromWire(const EnumMap<Ours, Wire, N>& map, Wire value) {
  for (const auto& [ours, wire] : map) {
    if (wire == value) return ours;
  }
  return std::nullopt;
}

}  // namespace quantd
