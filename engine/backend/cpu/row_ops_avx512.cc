#include "engine/backend/cpu/row_ops_body.h"

namespace quantd {

extern const RowOps kAvx512RowOps;
const RowOps kAvx512RowOps = MakeRowOps("avx512");

}  // namespace quantd
