#include "engine/gguf/block_codes_body.h"

namespace quantd {

extern const BlockChooser kAvx2BlockChooser;
const BlockChooser kAvx2BlockChooser = {.isa = "avx2", .choose = Choose};

}  // namespace quantd
