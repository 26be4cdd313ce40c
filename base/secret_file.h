// Files that hold a secret: written for their owner's eyes alone, read without a word of them in
// any error.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

// The file without white space around it. INVALID_FIELD, by `where`, if it cannot be read, is no
// secret text or is longer than one ever is.
absl::StatusOr<std::string> ReadSecretFile(std::string_view where, const std::string& path);

// Whether the text can be a secret that travels in a header: printable ASCII without spaces.
bool IsSecretText(std::string_view text);

// Complete or not at all, and never readable for others (mode 0600).
absl::Status WriteSecretFile(const std::string& path, std::string_view text);

// WRONG_STATE if others than its owner may read or write the file.
absl::Status CheckPrivate(const std::string& path);

}  // namespace quantd
