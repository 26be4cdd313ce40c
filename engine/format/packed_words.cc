#include "engine/format/packed_words.h"

#include "base/checked.h"

namespace quantd {

int64_t WordsFor(int64_t codes, int bits) { return DivideRoundingUp(codes * bits, 32); }

}  // namespace quantd
