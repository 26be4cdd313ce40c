#include "engine/text/windows.h"

#include <algorithm>
#include <memory>
#include <numeric>
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
constexpr std::string_view kBuiltin = "builtin:";

absl::Status Invalid(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kDatasetInvalid, "cannot use the text",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

// SplitMix64: the same numbers on every machine, from any seed.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
  }

 private:
  uint64_t state_;
};

// The positions of the windows in the text, in the order wanted: Fisher and Yates' shuffle. A
// modulus of 64 bits favours no position by more than one part in 2^32.
std::vector<int64_t> WindowOrder(int64_t windows, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(windows));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (seed == 0) return order;
  SplitMix64 random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Next() % i]);
  return order;
}

absl::Status CheckOptions(const WindowOptions& options) {
  std::vector<Violation> violations;
  if (options.tokens < 1) {
    violations.push_back({"tokens", absl::StrCat(options.tokens), "at least 1"});
  }
  if (options.windows < 0) {
    violations.push_back({"windows", absl::StrCat(options.windows), "at least 0; 0 is all"});
  }
  if (violations.empty()) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "cannot cut windows", std::move(violations));
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenText(const std::string& source,
                                                           std::span<const std::string> roots) {
  if (!roots.empty()) {
    QD_ASSIGN_OR_RETURN(Descriptor found, OpenAllowed(roots, source));
    return RandomAccessFile::FromDescriptor(found.Release(), source);
  }
  if (!PathExists(source)) return Invalid(source, "no such file", "a file of UTF-8 text");
  return RandomAccessFile::Open(source);
}

}  // namespace

absl::StatusOr<std::string> ReadText(const std::string& source,
                                     std::span<const std::string> roots) {
  QD_ASSIGN_OR_RETURN(TextHead head, ReadTextHead(source, roots, kMaxTextBytes));
  return std::move(head.text);
}

absl::StatusOr<TextHead> ReadTextHead(const std::string& source, std::span<const std::string> roots,
                                      int64_t max_bytes) {
  if (source.starts_with(kBuiltin)) {
    const auto text = BuiltinText(std::string_view(source).substr(kBuiltin.size()));
    if (!text) return Invalid(source, "no such text", "builtin:calibration or builtin:evaluation");
    const size_t bytes = std::min(text->size(), static_cast<size_t>(max_bytes));
    return TextHead{.text = std::string(text->substr(0, bytes)), .whole = bytes == text->size()};
  }
  auto opened = OpenText(source, roots);
  if (!opened.ok()) {
    // The reader of weights would blame the model; here it is the text.
    if (ReasonOf(opened.status()) != Reason::kModelCorrupt) return opened.status();
    return Invalid(source, "not a regular file", "a file of UTF-8 text");
  }
  const RandomAccessFile& file = **opened;
  if (file.size() == 0) return Invalid(source, "an empty file", "text");
  if (file.size() > kMaxTextBytes) {
    return Invalid(source, absl::StrCat(file.size(), " bytes"),
                   absl::StrCat("at most ", kMaxTextBytes));
  }
  const bool whole = file.size() <= max_bytes;
  std::string text(static_cast<size_t>(whole ? file.size() : max_bytes), '\0');
  QD_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
  const std::optional<size_t> invalid = FirstInvalidUtf8(text);
  // A cut may go through a character of up to four bytes.
  if (invalid.has_value() && (whole || *invalid + 4 <= text.size())) {
    return Invalid(source, absl::StrCat("no UTF-8 at byte ", *invalid), "UTF-8");
  }
  return TextHead{.text = std::move(text), .whole = whole};
}

absl::StatusOr<Windows> CutWindows(std::string_view text, const Tokenizer& tokenizer,
                                   const WindowOptions& options) {
  QD_RETURN_IF_ERROR(CheckOptions(options));
  QD_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(text, true));
  const auto tokens = static_cast<int64_t>(ids.size());
  const int64_t full = tokens / options.tokens;
  if (full == 0) {
    return Invalid("text", absl::StrCat(tokens, " tokens"),
                   absl::StrCat("at least ", options.tokens, ", one window"));
  }
  std::vector<int64_t> order = WindowOrder(full, options.seed);
  if (options.windows != 0 && options.windows < full) {
    order.resize(static_cast<size_t>(options.windows));
  }
  Windows windows;
  windows.tokens_per_window = options.tokens;
  windows.ids.reserve(order.size());
  for (const int64_t position : order) {
    const auto begin = ids.begin() + position * options.tokens;
    windows.ids.emplace_back(begin, begin + options.tokens);
  }
  windows.tokens_in_text = tokens;
  windows.tokens_left_over = tokens - windows.total_tokens();
  windows.digest = Sha256Hex(text);
  return windows;
}

}  // namespace quantd
