// The texts that are part of the program: a job needs no file to calibrate or to be measured.
#pragma once

#include <optional>
#include <string_view>

namespace quantd {

// The text named "calibration" or "evaluation"; nothing for any other name.
std::optional<std::string_view> BuiltinText(std::string_view name);

}  // namespace quantd
