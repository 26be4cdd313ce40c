#include "engine/text/token_stream.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kPiece = static_cast<size_t>(kPieceBytes);
constexpr size_t kContextBytes = 256;
constexpr int kTries = 8;  // places of each kind

bool IsBlank(char byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }
bool BeginsCharacter(char byte) { return (byte & 0xC0) != 0x80; }

// Kinds of places between text[at - 1] and text[at], the best first.
using Place = bool (*)(std::string_view text, size_t at);
constexpr std::array<Place, 4> kPlaces = {
    [](std::string_view text, size_t at) {
      return text[at - 1] == '\n' && !IsBlank(text[at - 2]) && !IsBlank(text[at]);
    },
    [](std::string_view text, size_t at) { return text[at - 1] == '\n' && text[at] != '\n'; },
    [](std::string_view text, size_t at) { return text[at] == ' ' && !IsBlank(text[at - 1]); },
    [](std::string_view text, size_t at) { return BeginsCharacter(text[at]); }};

// The last bytes of `text`, whole characters.
std::string_view Tail(std::string_view text) {
  size_t begin = text.size() - std::min(text.size(), kContextBytes);
  while (begin < text.size() && !BeginsCharacter(text[begin])) ++begin;
  return text.substr(begin);
}

// The first bytes.
std::string_view Head(std::string_view text) {
  size_t end = std::min(text.size(), kContextBytes);
  while (end < text.size() && !BeginsCharacter(text[end])) ++end;
  return text.substr(0, end);
}

bool BeginsWith(const std::vector<int32_t>& ids, const std::vector<int32_t>& first) {
  return ids.size() >= first.size() && std::equal(first.begin(), first.end(), ids.begin());
}

}  // namespace

// Whether what is before `position` encodes without what is behind as it does with it.
absl::StatusOr<bool> TokenStream::Separates(size_t position) {
  const std::string_view text = buffer_;
  const std::string_view before = Tail(text.substr(0, position));
  const std::string_view behind = Head(text.substr(position));
  QD_ASSIGN_OR_RETURN(const auto alone, tokenizer_.Encode(before, false));
  const std::string both = std::string(before) + std::string(behind);
  QD_ASSIGN_OR_RETURN(const auto together, tokenizer_.Encode(both, false));
  return BeginsWith(together, alone);
}

absl::StatusOr<size_t> TokenStream::FindCut() {
  size_t fallback = 0;
  for (const Place place : kPlaces) {
    int tries = 0;
    for (size_t at = kPiece; at > kPiece / 2 && tries < kTries; --at) {
      if (!place(buffer_, at)) continue;
      if (fallback == 0) fallback = at;
      ++tries;
      QD_ASSIGN_OR_RETURN(const bool separates, Separates(at));
      if (separates) return at;
    }
  }
  return fallback == 0 ? kPiece : fallback;
}

absl::StatusOr<std::vector<int32_t>> TokenStream::Encode() {
  if (!context_.empty()) {
    QD_ASSIGN_OR_RETURN(const auto before, tokenizer_.Encode(context_, false));
    QD_ASSIGN_OR_RETURN(auto ids, tokenizer_.Encode(context_ + piece_, false));
    if (BeginsWith(ids, before)) {
      ids.erase(ids.begin(), ids.begin() + static_cast<int64_t>(before.size()));
      return ids;
    }
  }
  return tokenizer_.Encode(piece_, false);
}

absl::StatusOr<bool> TokenStream::Next(std::vector<int32_t>& ids) {
  const auto append = [&](const std::vector<int32_t>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
  };
  if (!inside_) {
    QD_ASSIGN_OR_RETURN(inside_, documents_->Next());
    if (!inside_) return false;
    context_.clear();
    if (!documents_->rendered()) append(tokenizer_.prefix());
  }
  size_t before = buffer_.size();
  while (buffer_.size() < kPiece + kContextBytes + 4) {
    QD_RETURN_IF_ERROR(documents_->Read(kPieceBytes, buffer_));
    if (buffer_.size() == before) break;
    before = buffer_.size();
  }
  size_t cut = buffer_.size();
  const bool ends = cut < kPiece + kContextBytes + 4;
  if (!ends) {
    QD_ASSIGN_OR_RETURN(cut, FindCut());
  }
  piece_.assign(buffer_, 0, cut);
  QD_ASSIGN_OR_RETURN(const auto encoded, Encode());
  append(encoded);
  buffer_.erase(0, cut);
  context_ = Tail(piece_);
  if (ends) {
    inside_ = false;
    if (!documents_->rendered()) append(tokenizer_.suffix());
  }
  return true;
}

}  // namespace quantd
