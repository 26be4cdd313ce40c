// Text of the page: escaped, and figures and schemes as a person reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/types/progress.h"

namespace quantd {

// `text` so that it stands in an element or in a quoted attribute as itself. Control characters
// become U+FFFD; bytes that are not UTF-8 stay, browsers show them as U+FFFD.
std::string EscapeHtml(std::string_view text);

// "rtn int4 g128 sym mse", as Describe(Scheme).
std::string SchemeText(const LayerReport& layer);

// "12,345".
std::string GroupedText(int64_t value);
// "3.28 million", "70.6 billion".
std::string CountText(int64_t count);
// "2.47 MB": powers of 1000, three digits.
std::string BytesText(int64_t bytes);
// "0.42 s", "12.3 s", "4 min 05 s", "2 h 03 min".
std::string SecondsText(double seconds);
// Four significant digits without trailing zeros: "0.01234", "21.4", "3.2e-07".
std::string FigureText(double value);

}  // namespace quantd
