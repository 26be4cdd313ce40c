#include "engine/text/tokenizer.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/text/tokenizers_bridge/tokenizers_bridge.h"
#include "engine/text/utf8.h"

namespace quantd {
namespace {

constexpr const char* kFile = "tokenizer.json";
constexpr int64_t kMaxBytes = 256 << 20;

const uint8_t* BytesOf(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Copies a text that Rust owns and gives it back.
std::string Take(QdText text) {
  std::string copy(reinterpret_cast<const char*>(text.data), text.size);
  qd_tokenizer_free_text(text);
  return copy;
}

absl::Status Corrupt(std::string where, std::string got) {
  return MakeError(Reason::kModelCorrupt, "cannot load the tokenizer",
                   Violation{.where = std::move(where),
                             .got = std::move(got),
                             .wanted = "a tokenizer.json of Hugging Face tokenizers"});
}

class BridgedTokenizer : public Tokenizer {
 public:
  explicit BridgedTokenizer(QdTokenizer* tokenizer) : tokenizer_(tokenizer) {}
  ~BridgedTokenizer() override { qd_tokenizer_free(tokenizer_); }
  BridgedTokenizer(const BridgedTokenizer&) = delete;
  BridgedTokenizer& operator=(const BridgedTokenizer&) = delete;

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              bool add_special_tokens) const override {
    if (const std::optional<size_t> invalid = FirstInvalidUtf8(text)) {
      return MakeError(Reason::kDatasetInvalid, "cannot encode the text",
                       Violation{.where = "text",
                                 .got = absl::StrCat("no UTF-8 at byte ", *invalid),
                                 .wanted = "UTF-8"});
    }
    QdIds ids{};
    QdText error{};
    if (qd_tokenizer_encode(tokenizer_, BytesOf(text), text.size(), add_special_tokens ? 1 : 0,
                            &ids, &error) == 0) {
      return MakeError(
          Reason::kDatasetInvalid, "cannot encode the text",
          Violation{.where = "text", .got = Take(error), .wanted = "a text for this tokenizer"});
    }
    std::vector<int32_t> result(ids.data, ids.data + ids.size);
    qd_tokenizer_free_ids(ids);
    for (const int32_t id : result) {
      if (id < 0) return Corrupt(kFile, absl::StrCat("id ", static_cast<uint32_t>(id)));
    }
    return result;
  }

  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids) const override {
    std::vector<uint32_t> unsigned_ids;
    unsigned_ids.reserve(ids.size());
    for (const int32_t id : ids) {
      if (id < 0) {
        return MakeError(Reason::kInvalidField, "cannot decode",
                         Violation{.where = "ids", .got = absl::StrCat(id), .wanted = "ids >= 0"});
      }
      unsigned_ids.push_back(static_cast<uint32_t>(id));
    }
    QdText text{};
    QdText error{};
    if (qd_tokenizer_decode(tokenizer_, unsigned_ids.data(), unsigned_ids.size(), &text, &error) ==
        0) {
      return MakeError(
          Reason::kInvalidField, "cannot decode",
          Violation{.where = "ids", .got = Take(error), .wanted = "ids of this tokenizer"});
    }
    return Take(text);
  }

  int64_t vocabulary_size() const override {
    return static_cast<int64_t>(qd_tokenizer_vocabulary_size(tokenizer_));
  }

 private:
  QdTokenizer* const tokenizer_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(std::string_view json, const std::string& where) {
  QdText error{};
  QdTokenizer* const loaded = qd_tokenizer_load(BytesOf(json), json.size(), &error);
  if (loaded == nullptr) return Corrupt(where, Take(error));
  return std::make_unique<BridgedTokenizer>(loaded);
}

// A model folder without a tokenizer.json: says what is there instead and what helps.
absl::Status NoTokenizer(const ModelFiles& files) {
  for (const char* other : {"tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"}) {
    if (!files.Has(other)) continue;
    return MakeError(
        Reason::kModelUnsupported, "cannot load the tokenizer",
        Violation{.where = files.location(),
                  .got = absl::StrCat(other, " without ", kFile),
                  .wanted = absl::StrCat(
                      kFile,
                      "; convert it with transformers: AutoTokenizer.from_pretrained(FOLDER, "
                      "use_fast=True).save_pretrained(FOLDER)")});
  }
  return MakeError(
      Reason::kModelCorrupt, "cannot load the tokenizer",
      Violation{.where = files.location(), .got = absl::StrCat("no ", kFile), .wanted = kFile});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const ModelFiles& files) {
  if (!files.Has(kFile)) return NoTokenizer(files);
  QD_ASSIGN_OR_RETURN(const std::string json, files.ReadText(kFile, kMaxBytes));
  return Load(json, files.Where(kFile));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  return Load(json, kFile);
}

}  // namespace quantd
