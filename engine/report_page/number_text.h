// Figures as a person reads them on the page.
#pragma once

#include <cstdint>
#include <string>

namespace quantd {

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
