#include "engine/text/text_bytes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "base/open_beneath.h"
#include "engine/text/builtin_texts.h"
#include "engine/text/utf8.h"

namespace quantd {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;
constexpr int64_t kPieceBytes = 64 << 10;
constexpr size_t kCharacterBytes = 4;  // at most, in UTF-8
constexpr std::string_view kBuiltin = "builtin:";

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenText(const std::string& source,
                                                           std::span<const std::string> roots) {
  if (!roots.empty()) {
    QD_ASSIGN_OR_RETURN(Descriptor found, OpenAllowed(roots, source));
    return RandomAccessFile::FromDescriptor(found.Release(), source);
  }
  if (!PathExists(source)) return InvalidText(source, "no such file", "a file of UTF-8 text");
  return RandomAccessFile::Open(source);
}

}  // namespace

absl::Status InvalidText(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kDatasetInvalid, "cannot use the text",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

absl::StatusOr<TextBytes> TextBytes::Open(const std::string& source,
                                          std::span<const std::string> roots) {
  TextBytes bytes;
  bytes.source_ = source;
  if (source.starts_with(kBuiltin)) {
    const auto text = BuiltinText(std::string_view(source).substr(kBuiltin.size()));
    if (!text) {
      return InvalidText(source, "no such text", "builtin:calibration or builtin:evaluation");
    }
    bytes.builtin_ = *text;
    bytes.size_ = static_cast<int64_t>(text->size());
    return bytes;
  }
  auto opened = OpenText(source, roots);
  if (!opened.ok()) {
    // The reader of weights would blame the model; here it is the text.
    if (ReasonOf(opened.status()) != Reason::kModelCorrupt) return opened.status();
    return InvalidText(source, "not a regular file", "a file of UTF-8 text");
  }
  bytes.size_ = (*opened)->size();
  if (bytes.size_ == 0) return InvalidText(source, "an empty file", "text");
  if (bytes.size_ > kMaxTextBytes) {
    return InvalidText(source, absl::StrCat(bytes.size_, " bytes"),
                       absl::StrCat("at most ", kMaxTextBytes));
  }
  bytes.file_ = *std::move(opened);
  return bytes;
}

absl::Status TextBytes::Read(int64_t offset, int64_t count, std::string& to) const {
  count = std::min(count, size_ - offset);
  if (count <= 0) return absl::OkStatus();
  const size_t before = to.size();
  if (file_ == nullptr) {
    to += builtin_.substr(static_cast<size_t>(offset), static_cast<size_t>(count));
    return absl::OkStatus();
  }
  to.resize(before + static_cast<size_t>(count));
  return file_->Read(offset, std::as_writable_bytes(std::span(to).subspan(before)));
}

absl::StatusOr<std::string> TextBytes::Digest() const {
  Sha256 sha;
  std::string piece;  // what a cut through a character has left of the piece before comes first
  for (int64_t offset = 0; offset < size_; offset += kPieceBytes) {
    const auto left = static_cast<int64_t>(piece.size());
    QD_RETURN_IF_ERROR(Read(offset, kPieceBytes, piece));
    sha.Update(std::string_view(piece).substr(static_cast<size_t>(left)));
    const bool last = offset + kPieceBytes >= size_;
    const std::optional<size_t> invalid = FirstInvalidUtf8(piece);
    if (invalid.has_value() && (last || *invalid + kCharacterBytes <= piece.size())) {
      const int64_t place = offset - left + static_cast<int64_t>(*invalid);
      return InvalidText(source_, absl::StrCat("no UTF-8 at byte ", place), "UTF-8");
    }
    piece.erase(0, invalid.value_or(piece.size()));
  }
  return sha.FinishHex();
}

int TextCursor::Peek() {
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
    if (status_.ok()) status_ = bytes_.Read(read_, kPieceBytes, buffer_);
    if (!status_.ok()) buffer_.clear();
    read_ += static_cast<int64_t>(buffer_.size());
    if (buffer_.empty()) return -1;
  }
  return static_cast<unsigned char>(buffer_[at_]);
}

int TextCursor::Next() {
  const int byte = Peek();
  if (byte >= 0) ++at_;
  if (byte == '\n') ++line_;
  return byte;
}

}  // namespace quantd
