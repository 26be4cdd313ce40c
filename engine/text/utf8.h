// Whether bytes are UTF-8, as RFC 3629 has it: no overlong forms, no surrogates, nothing above
// U+10FFFF.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace quantd {

// The position of the first byte that does not belong to a well-formed character; nothing if all
// do.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

}  // namespace quantd
