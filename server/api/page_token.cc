#include "server/api/page_token.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/error.h"

namespace quantd {
namespace {

absl::Status Bad(std::string_view wanted) {
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "page_token",
                             .got = "a token that does not fit",
                             .wanted = std::string(wanted)});
}

std::string ShortDigest(std::string_view text) { return Sha256Hex(text).substr(0, 16); }

}  // namespace

std::string EncodeTextToken(std::string_view text) {
  return absl::WebSafeBase64Escape(absl::StrCat("1:", ToAbsl(text)));
}

absl::StatusOr<std::string> DecodeTextToken(const std::string& token) {
  std::string text;
  if (token.size() > 8192 || !absl::WebSafeBase64Unescape(token, &text) ||
      !text.starts_with("1:")) {
    return Bad("next_page_token of the page before");
  }
  return text.substr(2);
}

std::string EncodeJobToken(const JobCursor& cursor, std::string_view query) {
  return EncodeTextToken(absl::StrCat(absl::ToUnixMicros(cursor.create_time), ",", cursor.number,
                                      ",", ShortDigest(query)));
}

absl::StatusOr<JobCursor> DecodeJobToken(const std::string& token, std::string_view query) {
  QD_ASSIGN_OR_RETURN(const std::string text, DecodeTextToken(token));
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  int64_t micros = 0;
  JobCursor cursor;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &micros) ||
      !absl::SimpleAtoi(parts[1], &cursor.number)) {
    return Bad("next_page_token of the page before");
  }
  if (parts[2] != ShortDigest(query)) return Bad("the same filter and order_by as the page before");
  cursor.create_time = absl::FromUnixMicros(micros);
  return cursor;
}

}  // namespace quantd
