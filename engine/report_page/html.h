// Text in HTML.
#pragma once

#include <string>
#include <string_view>

namespace quantd {

// `text` so that it stands in an element or in a quoted attribute as itself. Control characters
// become U+FFFD; bytes that are not UTF-8 stay, browsers show them as U+FFFD.
std::string EscapeHtml(std::string_view text);

}  // namespace quantd
