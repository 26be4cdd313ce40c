#include "engine/text/windows.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/text/token_stream.h"

namespace quantd {
namespace {

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

absl::Status CheckOptions(const WindowOptions& options, const Tokenizer& tokenizer) {
  std::vector<Violation> violations;
  const int64_t least = static_cast<int64_t>(tokenizer.prefix().size()) + 1;
  if (options.tokens < least) {
    violations.push_back(
        {"tokens", absl::StrCat(options.tokens), absl::StrCat("at least ", least)});
  }
  if (options.windows < 0) {
    violations.push_back({"windows", absl::StrCat(options.windows), "at least 0; 0 is all"});
  }
  if (violations.empty()) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "cannot cut windows", std::move(violations));
}

// Takes ids as they come and gives windows.
class WindowCutter {
 public:
  WindowCutter(const std::vector<int32_t>& prefix, int64_t tokens)
      : prefix_(prefix), tokens_(static_cast<size_t>(tokens)) {}

  std::vector<int32_t>& pending() { return pending_; }
  // The next window; false if there are too few ids.
  bool Take(std::vector<int32_t>& window) {
    const auto rest = std::span(pending_).subspan(taken_);
    if (rest.size() < prefix_.size()) return DropTaken();
    const bool begun = std::equal(prefix_.begin(), prefix_.end(), rest.begin());
    if (rest.size() < tokens_ - (begun ? 0 : prefix_.size())) return DropTaken();
    window.clear();
    if (!begun) window = prefix_;
    const size_t count = tokens_ - window.size();
    window.insert(window.end(), rest.begin(), rest.begin() + static_cast<int64_t>(count));
    taken_ += count;
    return true;
  }
  int64_t left() const { return static_cast<int64_t>(pending_.size() - taken_); }

 private:
  bool DropTaken() {
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<int64_t>(taken_));
    taken_ = 0;
    return false;
  }

  const std::vector<int32_t>& prefix_;
  const size_t tokens_;
  std::vector<int32_t> pending_;
  size_t taken_ = 0;
};

// By the place of the token's text, where that is found as it is; else of the piece it is in.
absl::Status OutsideVocabulary(const TokenStream& stream, const Tokenizer& tokenizer, int32_t id,
                               int64_t vocabulary) {
  const auto token = tokenizer.Decode({id});
  std::string got = absl::StrCat("token ", id);
  size_t place = 0;
  if (token.ok() && !token->empty()) {
    absl::StrAppend(&got, " \"", *token, "\"");
    const size_t found = stream.piece().find(*token);
    if (found != std::string_view::npos) place = found;
  }
  return InvalidText(stream.Where(place), std::move(got),
                     absl::StrCat("ids below the ", vocabulary,
                                  " that the model embeds: its own tokenizer, or a text without "
                                  "that token"));
}

absl::Status TooShort(const Text& text, int64_t tokens, int64_t wanted) {
  return InvalidText(text.source(), absl::StrCat(tokens, " tokens (", text.bytes(), " bytes)"),
                     absl::StrCat("at least ", wanted, ", one window: a longer text, or --seq-len ",
                                  std::max<int64_t>(tokens, 2), " or less (tokens of a window)"));
}

// Gives every window to `use`, in the text's order, until that says enough.
absl::Status ForEachWindow(const Text& text, const Tokenizer& tokenizer,
                           const WindowOptions& options,
                           const std::function<bool(std::vector<int32_t>&)>& use) {
  TokenStream stream(text, tokenizer);
  WindowCutter cutter(tokenizer.prefix(), options.tokens);
  std::vector<int32_t> window;
  int64_t windows = 0;
  while (true) {
    const size_t before = cutter.pending().size();
    QD_ASSIGN_OR_RETURN(const bool more, stream.Next(cutter.pending()));
    if (!more) break;
    const auto fresh = std::span(cutter.pending()).subspan(before);
    const auto outside = std::find_if(fresh.begin(), fresh.end(), [&](int32_t id) {
      return options.vocabulary > 0 && id >= options.vocabulary;
    });
    if (outside != fresh.end()) {
      return OutsideVocabulary(stream, tokenizer, *outside, options.vocabulary);
    }
    while (cutter.Take(window)) {
      ++windows;
      if (!use(window)) return absl::OkStatus();
    }
  }
  return windows > 0 ? absl::OkStatus() : TooShort(text, cutter.left(), options.tokens);
}

}  // namespace

absl::StatusOr<Windows> CutWindows(const Text& text, const Tokenizer& tokenizer,
                                   const WindowOptions& options) {
  QD_RETURN_IF_ERROR(CheckOptions(options, tokenizer));
  Windows windows;
  windows.tokens_per_window = options.tokens;
  const auto wanted = static_cast<size_t>(options.windows);
  if (options.seed == 0) {
    QD_RETURN_IF_ERROR(ForEachWindow(text, tokenizer, options, [&](std::vector<int32_t>& window) {
      windows.ids.push_back(std::move(window));
      return wanted == 0 || windows.ids.size() < wanted;
    }));
    return windows;
  }
  int64_t full = 0;
  QD_RETURN_IF_ERROR(ForEachWindow(text, tokenizer, options, [&](std::vector<int32_t>&) {
    ++full;
    return true;
  }));
  std::vector<int64_t> order = WindowOrder(full, options.seed);
  if (wanted != 0 && wanted < order.size()) order.resize(wanted);
  std::vector<int64_t> place(static_cast<size_t>(full), -1);
  for (size_t i = 0; i < order.size(); ++i) {
    place[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  }
  windows.ids.resize(order.size());
  size_t position = 0, found = 0;
  QD_RETURN_IF_ERROR(ForEachWindow(text, tokenizer, options, [&](std::vector<int32_t>& window) {
    const int64_t slot = place[position++];
    if (slot < 0) return true;
    windows.ids[static_cast<size_t>(slot)] = std::move(window);
    return ++found < order.size();
  }));
  return windows;
}

}  // namespace quantd
