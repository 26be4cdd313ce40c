#include "engine/text/text.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "engine/text/utf8.h"

namespace quantd {
namespace {

constexpr const char* kFields[] = {"text", "messages", "conversations"};
constexpr const char* kWanted =
    "a field text (a text) or messages (of role and content); --text-field (text_field) names "
    "another";

// The end of the last whole character of `text`.
size_t WholeCharacters(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && text.size() - end < 3 && (text[end - 1] & 0xC0) == 0x80) --end;
  if (end == 0) return 0;
  const auto lead = static_cast<unsigned char>(text[end - 1]);
  const size_t bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return end - 1 + bytes <= text.size() ? end - 1 + bytes : end - 1;
}

class PlainReader : public DocumentReader {
 public:
  explicit PlainReader(const TextBytes& bytes) : bytes_(bytes) {}

  absl::StatusOr<bool> Next() override { return !std::exchange(begun_, true); }
  absl::Status Read(int64_t bytes, std::string& to) override {
    const size_t before = to.size();
    QD_RETURN_IF_ERROR(bytes_.Read(at_, std::max<int64_t>(bytes, 4), to));
    if (to.size() == before) return absl::OkStatus();
    const std::string_view piece = std::string_view(to).substr(before);
    const size_t whole = WholeCharacters(piece);
    const std::optional<size_t> invalid = FirstInvalidUtf8(piece.substr(0, whole));
    const bool last = at_ + static_cast<int64_t>(piece.size()) >= bytes_.size();
    if (invalid.has_value() || (last && whole < piece.size())) {
      const int64_t place = at_ + static_cast<int64_t>(invalid.value_or(whole));
      return InvalidText(bytes_.source(), absl::StrCat("no UTF-8 at byte ", place), "UTF-8");
    }
    at_ += static_cast<int64_t>(whole);
    to.resize(before + whole);
    return absl::OkStatus();
  }
  bool rendered() const override { return false; }
  std::string Where(int64_t back) const override {
    return absl::StrCat(bytes_.source(), ": byte ", at_ - back);
  }

 private:
  const TextBytes& bytes_;
  bool begun_ = false;
  int64_t at_ = 0;
};

// Roles and contents by the names that templates read; ShareGPT has others.
Json AsMessages(const Json& conversation) {
  Json messages = Json::array();
  for (const Json& turn : conversation) {
    if (!turn.is_object() || turn.contains("role") || !turn.contains("from") ||
        !turn.contains("value")) {
      messages.push_back(turn);
      continue;
    }
    Json role = turn["from"];
    if (role == "human") role = "user";
    if (role == "gpt") role = "assistant";
    messages.push_back({{"role", std::move(role)}, {"content", turn["value"]}});
  }
  return messages;
}

std::string FieldsOf(const Json& value) {
  if (!value.is_object()) return absl::StrCat("a value of type ", value.type_name());
  std::string names;
  for (const auto& [name, unused] : value.items()) {
    if (names.size() > 200) return names + ", …";
    absl::StrAppend(&names, names.empty() ? "fields " : ", ", name);
  }
  return names.empty() ? "an object without fields" : names;
}

// What of a record is the document: a text, or the turns of a conversation.
absl::StatusOr<const Json*> DocumentIn(const TextRecord& record, const TextRequest& request) {
  const Json& value = record.value;
  const std::string where = absl::StrCat(request.source, ": line ", record.line);
  const auto is_document = [](const Json& found) { return found.is_string() || found.is_array(); };
  if (request.field.empty() && is_document(value)) return &value;
  if (value.is_object()) {
    for (const char* known : kFields) {
      const auto found = value.find(request.field.empty() ? known : request.field);
      if (found != value.end() && is_document(*found)) return &*found;
    }
  }
  const std::string wanted = absl::StrCat("a field ", request.field, ", a text or messages");
  return InvalidText(where, FieldsOf(value), request.field.empty() ? kWanted : wanted);
}

class RecordDocuments : public DocumentReader {
 public:
  RecordDocuments(const TextRequest& request, const TextBytes& bytes, TextForm form,
                  const ChatTemplate* chat)
      : request_(request), chat_(chat), records_(RecordReader::Make(bytes, form)) {}

  // Records without a letter are passed over.
  absl::StatusOr<bool> Next() override {
    do {
      QD_ASSIGN_OR_RETURN(std::optional<TextRecord> record, records_->Next());
      if (!record.has_value()) return false;
      line_ = record->line;
      at_ = 0;
      QD_ASSIGN_OR_RETURN(const Json* found, DocumentIn(*record, request_));
      rendered_ = found->is_array();
      if (!rendered_) {
        document_ = found->get<std::string>();
        continue;
      }
      QD_RETURN_IF_ERROR(Render(*found, record->value));
    } while (document_.empty());
    return true;
  }
  absl::Status Read(int64_t bytes, std::string& to) override {
    const std::string_view rest = std::string_view(document_).substr(at_);
    const size_t most = static_cast<size_t>(std::max<int64_t>(bytes, 4));
    const size_t count = rest.size() <= most ? rest.size() : WholeCharacters(rest.substr(0, most));
    to += rest.substr(0, count);
    at_ += count;
    return absl::OkStatus();
  }
  bool rendered() const override { return rendered_; }
  std::string Where(int64_t /*back*/) const override {
    return absl::StrCat(request_.source, ": line ", line_);
  }

 private:
  absl::Status Render(const Json& turns, const Json& record) {
    if (chat_ == nullptr) {
      return InvalidText(Where(0), "messages after records with texts", "records of one kind");
    }
    const bool tools = record.is_object() && record.contains("tools") && record["tools"].is_array();
    auto rendered = chat_->Render(AsMessages(turns), tools ? record["tools"] : Json());
    if (!rendered.ok()) {
      return InvalidText(Where(0),
                         absl::StrCat("a conversation that the chat template refuses: ",
                                      rendered.status().message()),
                         "another --chat-template (chat_template), or a text field");
    }
    document_ = *std::move(rendered);
    return absl::OkStatus();
  }

  const TextRequest& request_;
  const ChatTemplate* const chat_;
  std::unique_ptr<RecordReader> records_;
  std::string document_;
  size_t at_ = 0;
  int64_t line_ = 1;
  bool rendered_ = false;
};

}  // namespace

absl::StatusOr<Text> Text::Open(const TextRequest& request, std::span<const std::string> roots,
                                const ModelFiles& files) {
  QD_ASSIGN_OR_RETURN(TextBytes bytes, TextBytes::Open(request.source, roots));
  Text text(request, std::move(bytes));
  QD_ASSIGN_OR_RETURN(text.form_, FormOf(text.bytes_, request.field));
  if (text.form_ == TextForm::kPlain) {
    if (request.field.empty() && request.chat_template.empty()) return text;
    return InvalidText(request.source, "plain text",
                       "JSONL, JSON or CSV where --text-field or --chat-template is said");
  }
  QD_ASSIGN_OR_RETURN(const std::optional<TextRecord> first,
                      RecordReader::Make(text.bytes_, text.form_)->Next());
  if (!first.has_value()) return InvalidText(request.source, "no records", "at least one");
  QD_ASSIGN_OR_RETURN(const Json* document, DocumentIn(*first, request));
  if (document->is_array()) {
    QD_ASSIGN_OR_RETURN(text.chat_, ChatTemplate::Open(files, request.chat_template));
  }
  return text;
}

absl::StatusOr<std::string> Text::Digest() const {
  QD_ASSIGN_OR_RETURN(std::string digest, bytes_.Digest());
  if (form_ == TextForm::kPlain) return digest;
  return Sha256Hex(
      absl::StrCat(digest, "\n", request_.field, "\n", chat_ == nullptr ? "" : chat_->source()));
}

std::unique_ptr<DocumentReader> Text::Documents() const {
  if (form_ == TextForm::kPlain) return std::make_unique<PlainReader>(bytes_);
  return std::make_unique<RecordDocuments>(request_, bytes_, form_, chat_.get());
}

}  // namespace quantd
