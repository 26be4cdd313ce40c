#include "server/id.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace quantd {

bool IsId(std::string_view text) {
  constexpr size_t kMostCharacters = 63;
  const auto allowed = [](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-';
  };
  return !text.empty() && text.size() <= kMostCharacters && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), allowed);
}

}  // namespace quantd
