#include "engine/backend/cpu/row_ops_body.h"

namespace quantd {

extern const RowOps kScalarRowOps;
const RowOps kScalarRowOps = MakeRowOps("scalar");

}  // namespace quantd
