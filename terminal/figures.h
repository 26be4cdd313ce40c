// Figures as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace quantd {

// "512 B", "2.83 MB", "1.40 GB": powers of 1000, three digits.
std::string HumanBytes(int64_t bytes);

// "0.42 s", "12.3 s", "4:05 min", "2:03:11 h".
std::string HumanSeconds(double seconds);

// "0:07", "4:05", "2:03:11": for a clock that counts down. Negative counts as 0.
std::string ClockFace(double seconds);

}  // namespace quantd
