// The header of a safetensors file: u64 LE length, JSON, data. Parsed as a stream of events and not
// into a tree, because a hostile header of 100 MB must cost neither quadratic time nor gigabytes.

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/found_instead.h"
#include "nlohmann/json.hpp"

namespace quantd {
namespace {

constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 32;

// A name from outside, fit for an error message.
std::string Shown(std::string_view text) {
  constexpr size_t kMost = 200;
  const std::string shown = absl::Utf8SafeCEscape(ToAbsl(text.substr(0, kMost)));
  return text.size() > kMost ? shown + "..." : shown;
}

std::string ShownShape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status Corrupt(const std::string& where, std::string got, std::string wanted) {
  return MakeError(Reason::kModelCorrupt, "bad safetensors header",
                   Violation{.where = where, .got = std::move(got), .wanted = std::move(wanted)});
}

// One tensor as the header states it, before anything is believed.
struct RawEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> offsets;  // within the data section
};

// Takes the events of the JSON parser. Every function returns false to stop.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderEvents(const std::string& path) : path_(path) {}

  absl::Status status() const { return status_; }
  std::vector<RawEntry> TakeEntries() { return std::move(entries_); }
  std::map<std::string, std::string> TakeMetadata() { return std::move(metadata_); }

  bool start_object(size_t) override {
    if (state_ == State::kStart) return Go(State::kTop);
    if (state_ == State::kTopValue) {
      return Go(name_ == "__metadata__" ? State::kMetadata : State::kTensor);
    }
    return Unexpected("an object");
  }

  bool end_object() override {
    if (state_ == State::kTensor) fields_.clear();
    return Go(state_ == State::kTop ? State::kEnd : State::kTop);
  }

  bool key(std::string& key) override {
    switch (state_) {
      case State::kTop:
        if (!names_.insert(key).second) return Refuse(Where(key), "the name twice", "it once");
        name_ = key;
        if (key != "__metadata__")
          entries_.push_back({.name = key, .dtype = {}, .shape = {}, .offsets = {}});
        return Go(State::kTopValue);
      case State::kMetadata:
        if (metadata_.contains(key)) return Refuse(Where(name_), Shown(key) + " twice", "it once");
        field_ = key;
        return Go(State::kMetadataValue);
      case State::kTensor:
        if (!fields_.insert(key).second)
          return Refuse(Where(name_), Shown(key) + " twice", "it once");
        field_ = key;
        if (key == "dtype") return Go(State::kDtype);
        if (key == "shape") return Go(State::kShape);
        if (key == "data_offsets") return Go(State::kOffsets);
        return Refuse(Where(name_), "the key " + Shown(key), "dtype, shape and data_offsets");
      default:
        return Unexpected("a key");
    }
  }

  bool start_array(size_t) override {
    if (state_ == State::kShape) {
      entries_.back().shape.emplace();
      return Go(State::kShapeValues);
    }
    if (state_ == State::kOffsets) {
      entries_.back().offsets.emplace();
      return Go(State::kOffsetValues);
    }
    return Unexpected("a list");
  }

  bool end_array() override { return Go(State::kTensor); }

  bool string(std::string& text) override {
    if (state_ == State::kMetadataValue) {
      metadata_.emplace(field_, text);
      return Go(State::kMetadata);
    }
    if (state_ == State::kDtype) {
      entries_.back().dtype = text;
      return Go(State::kTensor);
    }
    return Unexpected("a string");
  }

  bool number_unsigned(uint64_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX)) return Unexpected(absl::StrCat(value));
    return Number(static_cast<int64_t>(value));
  }
  bool number_integer(int64_t value) override { return Unexpected(absl::StrCat(value)); }
  bool number_float(double, const std::string& text) override { return Unexpected(Shown(text)); }
  bool null() override { return Unexpected("null"); }
  bool boolean(bool value) override { return Unexpected(value ? "true" : "false"); }
  bool binary(nlohmann::json::binary_t&) override { return Unexpected("binary"); }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Refuse(path_, absl::StrCat("no JSON at byte ", position, " of the header"), "JSON");
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kTensor,
    kDtype,
    kShape,
    kShapeValues,
    kOffsets,
    kOffsetValues,
    kEnd,
  };

  bool Go(State next) {
    state_ = next;
    return true;
  }

  bool Refuse(const std::string& where, std::string got, std::string wanted) {
    if (status_.ok()) status_ = Corrupt(where, std::move(got), std::move(wanted));
    return false;
  }

  std::string Where(std::string_view name) const { return absl::StrCat(path_, ":", Shown(name)); }

  bool Number(int64_t value) {
    if (state_ == State::kShapeValues) {
      std::vector<int64_t>& shape = *entries_.back().shape;
      shape.push_back(value);
      if (shape.size() <= kMaxDimensions) return true;
      return Refuse(Where(name_), "more dimensions", absl::StrCat("at most ", kMaxDimensions));
    }
    if (state_ == State::kOffsetValues) {
      std::vector<int64_t>& offsets = *entries_.back().offsets;
      offsets.push_back(value);
      return offsets.size() <= 2 || Refuse(Where(name_), "more data_offsets", "two");
    }
    return Unexpected(absl::StrCat(value));
  }

  bool Unexpected(std::string got) {
    switch (state_) {
      case State::kStart:
      case State::kEnd:
      case State::kTop:
        return Refuse(path_, std::move(got), "an object of tensors");
      case State::kTopValue:
        return Refuse(Where(name_), std::move(got), "an object");
      case State::kMetadata:
      case State::kMetadataValue:
        return Refuse(Where(name_), std::move(got), "an object of strings");
      case State::kDtype:
        return Refuse(Where(name_), std::move(got), "dtype, a string");
      case State::kShape:
      case State::kShapeValues:
        return Refuse(Where(name_), std::move(got), "shape, a list of sizes");
      case State::kTensor:
      case State::kOffsets:
      case State::kOffsetValues:
        return Refuse(Where(name_), std::move(got), "data_offsets, a list of begin and end");
    }
    return false;
  }

  const std::string& path_;
  State state_ = State::kStart;
  std::string name_;   // of the top-level key being read
  std::string field_;  // of the key within it
  std::set<std::string> fields_;
  std::set<std::string> names_;
  std::vector<RawEntry> entries_;
  std::map<std::string, std::string> metadata_;
  absl::Status status_;
};

// What one entry says about itself: type, shape, and as many bytes as both need.
absl::StatusOr<SafetensorsHeader::Entry> CheckEntry(RawEntry raw, int64_t data_begin,
                                                    int64_t data_bytes, const std::string& path) {
  const std::string where = absl::StrCat(path, ":", Shown(raw.name));
  if (!raw.dtype || !raw.shape || !raw.offsets) {
    const char* missing = !raw.dtype ? "dtype" : !raw.shape ? "shape" : "data_offsets";
    return Corrupt(where, absl::StrCat("no ", missing), "dtype, shape and data_offsets");
  }
  const std::optional<DType> dtype = DTypeByName(*raw.dtype);
  if (!dtype)
    return Corrupt(where, "dtype " + Shown(*raw.dtype),
                   "a type of real numbers: F64, F32, F16, BF16, F8_*, integers");
  if (raw.offsets->size() != 2) {
    return Corrupt(where, absl::StrCat(raw.offsets->size(), " data_offsets"), "two");
  }
  const int64_t begin = raw.offsets->front();
  const int64_t end = raw.offsets->back();
  if (begin > end || end > data_bytes) {
    return Corrupt(where, absl::StrCat("data_offsets [", begin, ", ", end, "]"),
                   absl::StrCat("begin <= end <= ", data_bytes, ", the bytes of the data"));
  }
  const std::optional<int64_t> elements = CheckedProduct(*raw.shape);
  const std::optional<int64_t> bytes =
      elements ? CheckedMultiply(*elements, SizeOf(*dtype)) : std::nullopt;
  if (!bytes) return Corrupt(where, "shape " + ShownShape(*raw.shape), "a size below 2^63 bytes");
  if (*bytes != end - begin) {
    return Corrupt(where, absl::StrCat(end - begin, " bytes of data"),
                   absl::StrCat(*bytes, " bytes for ", *raw.dtype, " ", ShownShape(*raw.shape)));
  }
  return SafetensorsHeader::Entry{
      .info = {.name = std::move(raw.name), .dtype = *dtype, .shape = *std::move(raw.shape)},
      .offset = data_begin + begin};
}

// Sorts into file order; every byte of the data belongs to one tensor.
absl::Status CheckCoverage(std::vector<SafetensorsHeader::Entry>& entries, int64_t data_begin,
                           int64_t file_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.offset, a.info.bytes(), std::string_view(a.info.name)) <
           std::tuple(b.offset, b.info.bytes(), std::string_view(b.info.name));
  });
  int64_t expected = data_begin;
  for (const SafetensorsHeader::Entry& entry : entries) {
    if (entry.offset != expected) {
      const bool overlap = entry.offset < expected;
      return Corrupt(absl::StrCat(path, ":", Shown(entry.info.name)),
                     absl::StrCat("data from byte ", entry.offset - data_begin,
                                  overlap ? ", overlapping the tensor before" : ", after a hole"),
                     absl::StrCat("data from byte ", expected - data_begin));
    }
    expected += entry.info.bytes();
  }
  if (expected == file_bytes) return absl::OkStatus();
  return Corrupt(path, absl::StrCat(file_bytes - data_begin, " bytes of data"),
                 absl::StrCat(expected - data_begin, " bytes, as the tensors need"));
}

// The length in the first eight bytes, checked against the file.
absl::StatusOr<int64_t> HeaderBytes(std::span<const std::byte> prefix, int64_t file_bytes,
                                    const std::string& path) {
  if (file_bytes < 8 || prefix.size() < 8) {
    return Corrupt(path, absl::StrCat("a file of ", file_bytes, " bytes"), "at least 8 bytes");
  }
  static_assert(std::endian::native == std::endian::little);
  uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof(length));
  if (length < 2 || length > kMaxHeaderBytes || static_cast<int64_t>(length) > file_bytes - 8) {
    return Corrupt(path, absl::StrCat("header length ", length),
                   absl::StrCat("2 to ", std::min(kMaxHeaderBytes, file_bytes - 8)));
  }
  return static_cast<int64_t>(length);
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix,
                                                         int64_t file_bytes,
                                                         const std::string& path) {
  QD_ASSIGN_OR_RETURN(const int64_t length, HeaderBytes(prefix, file_bytes, path));
  if (static_cast<int64_t>(prefix.size()) < 8 + length) {
    return Corrupt(path, absl::StrCat(prefix.size(), " bytes"),
                   absl::StrCat(8 + length, " bytes of header"));
  }
  const auto* text = reinterpret_cast<const char*>(prefix.data()) + 8;
  if (const void* zero = std::memchr(text, 0, static_cast<size_t>(length))) {
    // The parser would take it for the end of the text.
    return Corrupt(
        path,
        absl::StrCat("no JSON at byte ", static_cast<const char*>(zero) - text, " of the header"),
        "JSON");
  }
  HeaderEvents events(path);
  const bool parsed = nlohmann::json::sax_parse(text, text + length, &events);
  QD_RETURN_IF_ERROR(events.status());
  if (!parsed) return Corrupt(path, "no JSON in the header", "JSON");

  const int64_t data_begin = 8 + length;
  SafetensorsHeader header;
  header.metadata = events.TakeMetadata();
  for (RawEntry& raw : events.TakeEntries()) {
    QD_ASSIGN_OR_RETURN(SafetensorsHeader::Entry entry,
                        CheckEntry(std::move(raw), data_begin, file_bytes - data_begin, path));
    header.entries.push_back(std::move(entry));
  }
  QD_RETURN_IF_ERROR(CheckCoverage(header.entries, data_begin, file_bytes, path));
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const RandomAccessFile& file) {
  // The length, and as much as tells a pointer to the file from the file.
  constexpr int64_t kLeastBytes = 8, kPointerBytes = 64;
  std::vector<std::byte> prefix(
      static_cast<size_t>(std::clamp(file.size(), kLeastBytes, kPointerBytes)));
  if (file.size() >= kLeastBytes) QD_RETURN_IF_ERROR(file.Read(0, prefix));
  if (IsLfsPointer({reinterpret_cast<const char*>(prefix.data()), prefix.size()})) {
    return LfsPointerError(file.name());
  }
  QD_ASSIGN_OR_RETURN(const int64_t length, HeaderBytes(prefix, file.size(), file.name()));
  prefix.resize(static_cast<size_t>(8 + length));
  QD_RETURN_IF_ERROR(file.Read(0, prefix));
  return ParseSafetensorsHeader(prefix, file.size(), file.name());
}

}  // namespace quantd
