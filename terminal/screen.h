// The terminal that text is written to.
#pragma once

namespace quantd {

// Characters in a line of it; 0 when `descriptor` is no terminal or does not say.
int ScreenColumns(int descriptor);

}  // namespace quantd
