#include "engine/gguf/block_codes_body.h"

namespace quantd {

extern const BlockChooser kScalarBlockChooser;
const BlockChooser kScalarBlockChooser = {.isa = "scalar", .choose = Choose};

}  // namespace quantd
