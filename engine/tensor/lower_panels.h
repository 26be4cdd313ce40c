// A square matrix of which the lower triangle is kept: one that is symmetric, or a triangular
// factor, in little more than half the memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tensor/scratch_memory.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// f32, in panels of kRows rows. A panel is row-major and as wide as its last row's triangle, so a
// product of matrices reads it as it lies: rows of a panel have a fixed stride, and the square on
// the diagonal is there as a whole (what its upper triangle holds is the user's affair).
class LowerPanels {
 public:
  static constexpr int64_t kRows = 512;

  LowerPanels() = default;
  // [size, size], zeros. In memory, or with a folder in ScratchMemory there. Errors: its own.
  static absl::StatusOr<LowerPanels> Make(int64_t size, const std::string& scratch_folder);
  // The elements that Make(size) keeps.
  static int64_t ElementsOf(int64_t size);

  bool empty() const { return size_ == 0; }
  int64_t size() const { return size_; }
  // The row after the last of the panel that holds `row`; the columns of that panel.
  int64_t PanelEnd(int64_t row) const {
    const int64_t end = (row / kRows + 1) * kRows;
    return end < size_ ? end : size_;
  }
  int64_t Stride(int64_t row) const { return PanelEnd(row); }
  // Elements (row, 0) to (row, Stride(row)).
  float* Row(int64_t row) { return data_ + Offset(row); }
  const float* Row(int64_t row) const { return data_ + Offset(row); }
  // Of a symmetric matrix.
  float At(int64_t i, int64_t j) const { return i >= j ? Row(i)[j] : Row(j)[i]; }
  // All panels, one after the other.
  std::span<float> values() { return {data_, static_cast<size_t>(ElementsOf(size_))}; }
  std::span<const float> values() const { return {data_, static_cast<size_t>(ElementsOf(size_))}; }
  // The panel of `row` is not needed for now: gives its memory back if it is in a file. At any
  // time, from any thread.
  void Release(int64_t row) const;

 private:
  int64_t Offset(int64_t row) const {
    const int64_t panel = row / kRows;
    return kRows * kRows * (panel * (panel + 1) / 2) + (row - panel * kRows) * Stride(row);
  }

  int64_t size_ = 0;
  float* data_ = nullptr;  // of one of these
  AlignedBuffer<float> memory_;
  ScratchMemory scratch_;
};

}  // namespace quantd
