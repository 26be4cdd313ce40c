#include "engine/text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/text/bridge_text.h"
#include "engine/text/utf8.h"

namespace quantd {
namespace {

constexpr const char* kFile = "tokenizer.json";
constexpr int64_t kMaxBytes = 256 << 20;

absl::Status Corrupt(std::string where, std::string got) {
  return MakeError(Reason::kModelCorrupt, "cannot load the tokenizer",
                   Violation{.where = std::move(where),
                             .got = std::move(got),
                             .wanted = "a tokenizer.json of Hugging Face tokenizers"});
}

class BridgedTokenizer : public Tokenizer {
 public:
  explicit BridgedTokenizer(QdTokenizer* tokenizer) : tokenizer_(tokenizer) { FindAdded(); }
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
    if (qd_tokenizer_encode(tokenizer_, BridgeBytes(text), text.size(), add_special_tokens ? 1 : 0,
                            &ids, &error) == 0) {
      return MakeError(
          Reason::kDatasetInvalid, "cannot encode the text",
          Violation{
              .where = "text", .got = TakeText(error), .wanted = "a text for this tokenizer"});
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
          Violation{.where = "ids", .got = TakeText(error), .wanted = "ids of this tokenizer"});
    }
    return TakeText(text);
  }

  int64_t vocabulary_size() const override {
    return static_cast<int64_t>(qd_tokenizer_vocabulary_size(tokenizer_));
  }
  const std::vector<int32_t>& prefix() const override { return prefix_; }
  const std::vector<int32_t>& suffix() const override { return suffix_; }

 private:
  // What goes around a text is what is more around a letter than the letter.
  void FindAdded() {
    const auto plain = Encode("a", false), whole = Encode("a", true);
    if (!plain.ok() || !whole.ok() || plain->empty()) return;
    const auto found = std::search(whole->begin(), whole->end(), plain->begin(), plain->end());
    if (found == whole->end()) return;
    prefix_.assign(whole->begin(), found);
    suffix_.assign(found + static_cast<int64_t>(plain->size()), whole->end());
  }

  QdTokenizer* const tokenizer_;
  std::vector<int32_t> prefix_, suffix_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(std::string_view json, const std::string& where) {
  QdText error{};
  QdTokenizer* const loaded = qd_tokenizer_load(BridgeBytes(json), json.size(), &error);
  if (loaded == nullptr) return Corrupt(where, TakeText(error));
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

// What C++ does where `new` finds no memory: the runner ends with the exit code for it.
void qd_allocation_failed() {
  if (const std::new_handler handler = std::get_new_handler(); handler != nullptr) handler();
}
