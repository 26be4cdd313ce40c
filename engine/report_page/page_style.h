// What the page looks like and the little that it does.
#pragma once

#include <string_view>

namespace quantd {

// Light and dark by the reader's preference, light when printed.
extern const std::string_view kPageStyle;
// Sorts and filters the table. Nothing else on the page needs it.
extern const std::string_view kPageScript;

}  // namespace quantd
