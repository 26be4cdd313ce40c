#include "engine/backend/cpu/row_ops.h"

#include <vector>

#include "engine/backend/kernels.h"

namespace quantd {

// One per row_ops_<isa>.cc.
extern const RowOps kScalarRowOps;
extern const RowOps kAvx2RowOps;
extern const RowOps kAvx512RowOps;

namespace {

// Which of them this machine can run is decided once, for the quantization kernels.
const RowOps* ByIsa(std::string_view isa) {
  for (const RowOps* ops : {&kScalarRowOps, &kAvx2RowOps, &kAvx512RowOps}) {
    if (ops->isa == isa) return ops;
  }
  return nullptr;
}

std::vector<const RowOps*> Find() {
  std::vector<const RowOps*> found;
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    if (const RowOps* ops = ByIsa(kernels->isa); ops != nullptr) found.push_back(ops);
  }
  return found;
}

}  // namespace

const RowOps& CpuRowOps() {
  static const RowOps* const ops = [] {
    const RowOps* chosen = ByIsa(CpuKernels().isa);
    return chosen != nullptr ? chosen : &kScalarRowOps;
  }();
  return *ops;
}

std::span<const RowOps* const> AllCpuRowOps() {
  static const std::vector<const RowOps*> all = Find();
  return all;
}

}  // namespace quantd
