// A text as documents: a plain file is one, the records of JSONL, JSON and CSV are many.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"
#include "engine/text/chat_template.h"
#include "engine/text/records.h"
#include "engine/text/text_bytes.h"

namespace quantd {

struct TextRequest {
  std::string source;      // "builtin:…" or a path
  std::string field = {};  // of records, a text or messages; "": text, messages, conversations
  std::string chat_template = {};  // Jinja source; "": the model's own
};

// Reads one document after another, each in pieces: of a plain text there is never more in memory
// than a piece.
class DocumentReader {
 public:
  virtual ~DocumentReader() = default;
  // Goes on to the next document. False: there is none. DATASET_INVALID naming file, line, the
  // fields that are there and the flag that helps.
  virtual absl::StatusOr<bool> Next() = 0;
  // Appends whole characters, about `bytes` of them; nothing at the document's end.
  virtual absl::Status Read(int64_t bytes, std::string& to) = 0;
  // Whether a chat template made the document: special tokens are in it already.
  virtual bool rendered() const = 0;
  // Where that is which was read `back` bytes ago: "FILE: byte 12" or "FILE: line 3".
  virtual std::string Where(int64_t back) const = 0;
};

class Text {
 public:
  // Looks at how the text begins (its form, its first record) and compiles the chat template where
  // that is a conversation; renders nothing. Errors: those of TextBytes::Open; DATASET_INVALID for
  // records without the field, conversations without a template, a field of a plain text.
  static absl::StatusOr<Text> Open(const TextRequest& request, std::span<const std::string> roots,
                                   const ModelFiles& files);

  const std::string& source() const { return request_.source; }
  int64_t bytes() const { return bytes_.size(); }
  // Whether a chat template runs when documents are read: see ChatTemplate::Render.
  bool renders() const { return chat_ != nullptr; }
  // Identifies what will be read: SHA-256 of the bytes of a plain text; of records of that, the
  // field and the template. Reads the whole text. DATASET_INVALID where it is not UTF-8.
  absl::StatusOr<std::string> Digest() const;
  // The text outlives it.
  std::unique_ptr<DocumentReader> Documents() const;

 private:
  Text(TextRequest request, TextBytes bytes)
      : request_(std::move(request)), bytes_(std::move(bytes)) {}

  TextRequest request_;
  TextBytes bytes_;
  TextForm form_ = TextForm::kPlain;
  std::shared_ptr<const ChatTemplate> chat_;
};

}  // namespace quantd
