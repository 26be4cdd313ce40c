#include "engine/tensor/lower_panels.h"

#include <algorithm>

#include "base/error.h"

namespace quantd {

int64_t LowerPanels::ElementsOf(int64_t size) {
  const int64_t whole = size / kRows, rest = size - whole * kRows;
  return kRows * kRows * (whole * (whole + 1) / 2) + rest * size;
}

absl::StatusOr<LowerPanels> LowerPanels::Make(int64_t size, const std::string& scratch_folder) {
  LowerPanels panels;
  const int64_t elements = ElementsOf(size);
  if (scratch_folder.empty()) {
    panels.memory_ = AlignedBuffer<float>(elements);
    panels.data_ = panels.memory_.data();
    std::fill_n(panels.data_, elements, 0.0F);
  } else {
    QD_ASSIGN_OR_RETURN(
        panels.scratch_,
        ScratchMemory::Make(elements * static_cast<int64_t>(sizeof(float)), scratch_folder));
    panels.data_ = reinterpret_cast<float*>(panels.scratch_.data());
  }
  panels.size_ = size;
  return panels;
}

void LowerPanels::Release(int64_t row) const {
  if (scratch_.size() == 0) return;
  const int64_t first = row / kRows * kRows, end = PanelEnd(row);
  scratch_.Release(Row(first), (end - first) * end * static_cast<int64_t>(sizeof(float)));
}

}  // namespace quantd
