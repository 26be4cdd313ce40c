// The MLP of a block, or of one expert.
#include <algorithm>

#include "base/error.h"
#include "engine/model/block_run.h"

namespace quantd {
namespace {

// gate[rows, F] and up[rows, F] of x.
absl::Status Gates(BlockRun& run, int expert, const float* x, int64_t rows, int64_t width,
                   float* gate, float* up) {
  if (!run.Has(LinearRole::kGateUp, expert)) {
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kGate, expert, x, rows, gate));
    return run.Linear(LinearRole::kUp, expert, x, rows, up);
  }
  float* both = run.buffers.Get(BlockBuffers::kFused, rows * 2 * width);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kGateUp, expert, x, rows, both));
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(both + row * 2 * width, width, gate + row * width);
    std::copy_n(both + row * 2 * width + width, width, up + row * width);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunMlp(BlockRun& run, int expert, const float* x, int64_t rows, float* out) {
  const LinearSpec* down = run.block.Find(LinearRole::kDown, expert);
  if (down == nullptr) return MakeError(Reason::kInternal, "the block lacks an MLP");
  const int64_t width = down->in_features;
  const Activation activation = run.model.activation;
  float* up = run.buffers.Get(BlockBuffers::kUp, rows * width);
  if (run.Has(LinearRole::kGate, expert) || run.Has(LinearRole::kGateUp, expert)) {
    float* gate = run.buffers.Get(BlockBuffers::kGate, rows * width);
    QD_RETURN_IF_ERROR(Gates(run, expert, x, rows, width, gate, up));
    run.backend.ActivateMultiply(activation, gate, up, rows * width);
    return run.Linear(LinearRole::kDown, expert, gate, rows, out);
  }
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kUp, expert, x, rows, up));
  run.backend.Activate(activation, up, rows * width);
  return run.Linear(LinearRole::kDown, expert, up, rows, out);
}

}  // namespace quantd
