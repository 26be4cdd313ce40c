#include "engine/block/not_finite.h"

#include <string>

#include "base/error.h"
#include "engine/tensor/finite.h"

namespace quantd {

absl::Status NameNotFinite(const Checkpoint& checkpoint, const BlockSpec& block,
                           const absl::Status& status) {
  if (ReasonOf(status) != Reason::kModelNotFinite) return status;
  for (const std::string& norm : block.NormTensors()) {
    QD_RETURN_IF_ERROR(CheckFinite(checkpoint, norm));
  }
  for (const LinearSpec& linear : block.linears) {
    QD_RETURN_IF_ERROR(CheckFinite(checkpoint, linear.name + ".weight"));
    QD_RETURN_IF_ERROR(CheckFinite(checkpoint, linear.name + ".bias"));
  }
  return status;
}

}  // namespace quantd
