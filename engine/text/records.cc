#include "engine/text/records.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/text/utf8.h"

namespace quantd {
namespace {

constexpr size_t kMaxRecordBytes = size_t{16} << 20;
constexpr int64_t kHeaderBytes = 4096;  // of a file whose form is looked for
constexpr std::string_view kMark = "\xEF\xBB\xBF";

struct Magic {
  std::string_view bytes, what;
};
constexpr Magic kMagics[] = {{std::string_view("\x1F\x8B"), "a gzip file"},
                             {std::string_view("\x28\xB5\x2F\xFD"), "a zstd file"},
                             {std::string_view("PAR1"), "a Parquet file"},
                             {std::string_view("ARROW1"), "an Arrow file"},
                             {std::string_view("PK\x03\x04"), "a zip file"}};

bool IsSpace(int byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

void SkipMark(TextCursor& cursor) {
  for (const char byte : kMark) {
    if (cursor.Peek() != static_cast<unsigned char>(byte)) return;
    cursor.Next();
  }
}

// Reads records off a cursor. Subclasses take the text of one.
class Reader : public RecordReader {
 protected:
  explicit Reader(const TextBytes& bytes) : bytes_(bytes), cursor_(bytes) { SkipMark(cursor_); }

  absl::Status Wrong(int64_t line, std::string got, std::string wanted) const {
    return InvalidText(absl::StrCat(bytes_.source(), ": line ", line), std::move(got),
                       std::move(wanted));
  }
  absl::StatusOr<TextRecord> Parse(const std::string& text, int64_t line) const {
    if (FirstInvalidUtf8(text).has_value()) return Wrong(line, "no UTF-8", "UTF-8");
    auto parsed = ParseJson(text, "JSON");
    if (!parsed.ok()) {
      return Wrong(line, absl::StrCat("no JSON: ", parsed.status().message()), "a JSON value");
    }
    return TextRecord{.value = *std::move(parsed), .line = line};
  }
  absl::Status CheckSize(const std::string& text, int64_t line) const {
    if (text.size() <= kMaxRecordBytes) return absl::OkStatus();
    return Wrong(line, "a record of more than 16 MiB", "smaller records");
  }

  const TextBytes& bytes_;
  TextCursor cursor_;
};

class LineReader : public Reader {
 public:
  explicit LineReader(const TextBytes& bytes) : Reader(bytes) {}

  absl::StatusOr<std::optional<TextRecord>> Next() override {
    while (IsSpace(cursor_.Peek())) cursor_.Next();
    const int64_t line = cursor_.line();
    std::string text;
    for (int byte = cursor_.Next(); byte >= 0 && byte != '\n'; byte = cursor_.Next()) {
      text.push_back(static_cast<char>(byte));
      QD_RETURN_IF_ERROR(CheckSize(text, line));
    }
    QD_RETURN_IF_ERROR(cursor_.status());
    if (text.empty()) return std::nullopt;
    return Parse(text, line);
  }
};

// The elements of an array, or the only value there is.
class ElementReader : public Reader {
 public:
  explicit ElementReader(const TextBytes& bytes) : Reader(bytes) {
    while (IsSpace(cursor_.Peek())) cursor_.Next();
    array_ = cursor_.Peek() == '[';
    if (array_) cursor_.Next();
  }

  absl::StatusOr<std::optional<TextRecord>> Next() override {
    while (IsSpace(cursor_.Peek()) || (array_ && !first_ && cursor_.Peek() == ',')) cursor_.Next();
    const int64_t line = cursor_.line();
    if (array_ && cursor_.Peek() == ']') return std::nullopt;
    if (cursor_.Peek() < 0) {
      QD_RETURN_IF_ERROR(cursor_.status());
      if (array_) return Wrong(line, "the end of the file", "the end of the array");
      return std::nullopt;
    }
    if (!array_ && !first_) return Wrong(line, "more after the object", "a JSON object a line");
    first_ = false;
    std::string text;
    QD_RETURN_IF_ERROR(TakeValue(text, line));
    return Parse(text, line);
  }

 private:
  // Up to where brackets and quotes are even.
  absl::Status TakeValue(std::string& text, int64_t line) {
    int64_t depth = 0;
    bool quoted = false, escaped = false;
    while (cursor_.Peek() >= 0) {
      const char byte = static_cast<char>(cursor_.Peek());
      if (!quoted && depth == 0 && (byte == ',' || byte == ']')) break;
      text.push_back(byte);
      cursor_.Next();
      QD_RETURN_IF_ERROR(CheckSize(text, line));
      if (quoted) {
        if (byte == '"' && !escaped) quoted = false;
        escaped = byte == '\\' && !escaped;
      } else if (byte == '"') {
        quoted = true;
      } else if (byte == '{' || byte == '[') {
        ++depth;
      } else if (byte == '}' || byte == ']') {
        --depth;
      }
      const bool closed = byte == '"' || byte == '}' || byte == ']';
      if (!quoted && depth == 0 && closed) break;
    }
    return cursor_.status();
  }

  bool array_ = false, first_ = true;
};

class RowReader : public Reader {
 public:
  RowReader(const TextBytes& bytes, char separator) : Reader(bytes), separator_(separator) {}

  absl::StatusOr<std::optional<TextRecord>> Next() override {
    if (header_.empty()) {
      QD_RETURN_IF_ERROR(TakeRow(header_));
    }
    std::vector<std::string> cells;
    const int64_t line = cursor_.line();
    QD_RETURN_IF_ERROR(TakeRow(cells));
    if (cells.empty()) return std::nullopt;
    if (cells.size() != header_.size()) {
      return Wrong(line, absl::StrCat(cells.size(), " fields"),
                   absl::StrCat(header_.size(), ", as the header has"));
    }
    Json row = Json::object();
    for (size_t i = 0; i < cells.size(); ++i) {
      if (FirstInvalidUtf8(cells[i]).has_value()) return Wrong(line, "no UTF-8", "UTF-8");
      row[header_[i]] = std::move(cells[i]);
    }
    return TextRecord{.value = std::move(row), .line = line};
  }

 private:
  // One row; no cells at the end of the file. Empty lines are none.
  absl::Status TakeRow(std::vector<std::string>& cells) {
    while (cursor_.Peek() == '\n' || cursor_.Peek() == '\r') cursor_.Next();
    const int64_t line = cursor_.line();
    if (cursor_.Peek() < 0) return cursor_.status();
    std::string cell;
    bool quoted = false;
    while (true) {
      const int byte = cursor_.Next();
      if (byte < 0 && quoted) return Wrong(line, "a quote without an end", "a closing quote");
      if (!quoted && (byte < 0 || byte == '\n' || byte == separator_)) {
        if (byte != separator_ && cell.ends_with('\r')) cell.pop_back();
        cells.push_back(std::move(cell));
        cell.clear();
        if (byte != separator_) return cursor_.status();
      } else if (byte == '"' && (quoted || cell.empty())) {
        if (quoted && cursor_.Peek() == '"') {
          cell.push_back(static_cast<char>(cursor_.Next()));
        } else {
          quoted = !quoted;
        }
      } else {
        cell.push_back(static_cast<char>(byte));
        QD_RETURN_IF_ERROR(CheckSize(cell, line));
      }
    }
  }

  const char separator_;
  std::vector<std::string> header_;
};

bool IsName(std::string_view cell) {
  return !cell.empty() && std::all_of(cell.begin(), cell.end(), [](char letter) {
    return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_';
  });
}

// Whether the first line is names between separators, the field's among them.
bool IsHeader(std::string_view head, char separator, std::string_view field) {
  std::string_view line = head.substr(0, head.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  bool found = false;
  int64_t names = 0;
  while (true) {
    const size_t end = line.find(separator);
    const std::string_view cell = line.substr(0, end);
    if (!IsName(cell)) return false;
    found = found || cell == field;
    ++names;
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return found && names > 1;
}

enum class TextPromise { kNone, kJson };

bool IsMessage(const Json& value) { return value.is_object() && value.contains("role"); }

// The form of a text that begins like JSON, by its first value; nothing if that is none. Prose may
// begin with a quoted line: a value that is a text alone counts where the name promises JSON.
absl::StatusOr<std::optional<TextForm>> JsonForm(const TextBytes& bytes, TextPromise promise) {
  TextCursor cursor(bytes);
  SkipMark(cursor);
  while (IsSpace(cursor.Peek())) cursor.Next();
  const int begin = cursor.Peek();
  QD_RETURN_IF_ERROR(cursor.status());
  if (begin == '"' && promise == TextPromise::kNone) return std::nullopt;
  if (begin != '{' && begin != '[' && begin != '"') return std::nullopt;
  const auto line = LineReader(bytes).Next();
  const bool whole_line = line.ok() && line->has_value();
  // One object a line; or a text or the messages of one conversation.
  if (whole_line && begin != '[') return TextForm::kLines;
  if (begin == '"') return std::nullopt;
  const auto element = ElementReader(bytes).Next();
  if (!element.ok()) return std::nullopt;
  if (!element->has_value()) return TextForm::kElements;
  const Json& first = (*element)->value;
  if (whole_line && begin == '[' && IsMessage(first)) return TextForm::kLines;
  const bool holds = first.is_object() || first.is_array() || first.is_string();
  return holds ? std::optional(TextForm::kElements) : std::nullopt;
}

}  // namespace

absl::StatusOr<TextForm> FormOf(const TextBytes& bytes, std::string_view field) {
  std::string head, name = bytes.source();
  QD_RETURN_IF_ERROR(bytes.Read(0, kHeaderBytes, head));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  for (const Magic& magic : kMagics) {
    if (!head.starts_with(magic.bytes)) continue;
    return InvalidText(bytes.source(), std::string(magic.what),
                       "UTF-8 text, JSONL, JSON or CSV: write it out as one of these");
  }
  if (name.ends_with(".csv")) return TextForm::kComma;
  if (name.ends_with(".tsv")) return TextForm::kTab;
  const bool lines = name.ends_with(".jsonl") || name.ends_with(".ndjson");
  const bool promised = lines || name.ends_with(".json");
  QD_ASSIGN_OR_RETURN(const std::optional<TextForm> json,
                      JsonForm(bytes, promised ? TextPromise::kJson : TextPromise::kNone));
  if (json.has_value()) return *json;
  // What is wrong with it is said where it is read.
  if (promised) return lines ? TextForm::kLines : TextForm::kElements;
  const std::string_view wanted = field.empty() ? "text" : field;
  if (IsHeader(head, ',', wanted)) return TextForm::kComma;
  if (IsHeader(head, '\t', wanted)) return TextForm::kTab;
  return TextForm::kPlain;
}

std::unique_ptr<RecordReader> RecordReader::Make(const TextBytes& bytes, TextForm form) {
  switch (form) {
    case TextForm::kLines:
      return std::make_unique<LineReader>(bytes);
    case TextForm::kElements:
      return std::make_unique<ElementReader>(bytes);
    case TextForm::kComma:
      return std::make_unique<RowReader>(bytes, ',');
    case TextForm::kTab:
      return std::make_unique<RowReader>(bytes, '\t');
    case TextForm::kPlain:
      break;
  }
  return nullptr;
}

}  // namespace quantd
