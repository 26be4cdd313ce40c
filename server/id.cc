#include "server/id.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

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

std::string NewId() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  std::array<unsigned char, 16> random{};
  size_t filled = 0;
  while (filled < random.size()) {
    const ssize_t got = getrandom(random.data() + filled, random.size() - filled, 0);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  std::string id;
  for (const unsigned char byte : random) id.push_back(kAlphabet[byte % kAlphabet.size()]);
  return id;
}

}  // namespace quantd
