#include "engine/gguf/block_codes_body.h"

namespace quantd {

extern const BlockChooser kAvx512BlockChooser;
const BlockChooser kAvx512BlockChooser = {.isa = "avx512", .choose = Choose};

}  // namespace quantd
