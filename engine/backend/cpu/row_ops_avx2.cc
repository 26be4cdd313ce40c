#include "engine/backend/cpu/row_ops_body.h"

namespace quantd {

extern const RowOps kAvx2RowOps;
const RowOps kAvx2RowOps = MakeRowOps("avx2");

}  // namespace quantd
