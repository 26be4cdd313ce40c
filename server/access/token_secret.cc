#include "server/access/token_secret.h"

#include <sys/random.h>

#include <algorithm>
#include <span>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr std::string_view kPrefix = "quantd_";
constexpr size_t kSecretBytes = 32;
constexpr size_t kSecretCharacters = 43;
constexpr size_t kIdCharacters = 12;

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t filled = 0; filled < count;) {
    const ssize_t got = getrandom(bytes.data() + filled, count - filled, 0);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

std::string NewTokenSecret() {
  return absl::StrCat(ToAbsl(kPrefix), absl::WebSafeBase64Escape(RandomBytes(kSecretBytes)));
}

std::string DigestOfSecret(std::string_view secret) { return Sha256Hex(secret); }

bool LooksLikeSecret(std::string_view text) {
  if (!text.starts_with(kPrefix)) return false;
  text.remove_prefix(kPrefix.size());
  return text.size() == kSecretCharacters && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
         });
}

std::string NewTokenId() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  std::string id = RandomBytes(kIdCharacters);
  for (char& c : id) c = kAlphabet[static_cast<unsigned char>(c) % kAlphabet.size()];
  return id;
}

}  // namespace quantd
