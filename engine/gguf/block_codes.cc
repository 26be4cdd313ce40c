#include "engine/gguf/block_codes.h"

#include <vector>

#include "engine/backend/kernels.h"

namespace quantd {

// One per block_codes_<isa>.cc.
extern const BlockChooser kScalarBlockChooser;
extern const BlockChooser kAvx2BlockChooser;
extern const BlockChooser kAvx512BlockChooser;

namespace {

// Which of them this machine can run is decided once, for the quantization kernels.
const BlockChooser& ByIsa(std::string_view isa) {
  if (isa == kAvx512BlockChooser.isa) return kAvx512BlockChooser;
  return isa == kAvx2BlockChooser.isa ? kAvx2BlockChooser : kScalarBlockChooser;
}

}  // namespace

void ChooseBlock(const BlockLayout& layout, const float* weights, const float* importance,
                 BlockSearch search, BlockParts& parts) {
  static const BlockChooser& chooser = ByIsa(CpuKernels().isa);
  chooser.choose(layout, weights, importance, search, parts);
}

std::span<const BlockChooser* const> BlockChoosers() {
  static const std::vector<const BlockChooser*> choosers = [] {
    std::vector<const BlockChooser*> found;
    for (const QuantizeKernels* kernels : AllCpuKernels()) found.push_back(&ByIsa(kernels->isa));
    return found;
  }();
  return choosers;
}

}  // namespace quantd
