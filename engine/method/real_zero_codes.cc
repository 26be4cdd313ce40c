#include "engine/method/real_zero_codes.h"

namespace quantd {

RealZeroCodes RealZeroCodesOf(const Scheme& scheme) {
  const bool ternary = scheme.options.Flag("ternary");
  return {.low = scheme.qmin(),
          .high = ternary ? scheme.qmin() + 2 : scheme.qmax(),
          .offset = -scheme.qmin(),
          .dtype = scheme.scale_dtype};
}

}  // namespace quantd
