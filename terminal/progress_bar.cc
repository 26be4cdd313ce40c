#include "terminal/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include "terminal/figures.h"
#include "terminal/screen.h"
#include "terminal/table.h"

namespace quantd {
namespace {

constexpr int kFallbackColumns = 80;
constexpr int64_t kBarCells = 16;
constexpr int kReadableName = 16;
constexpr int kShortestName = 8;
constexpr std::string_view kEraseLine = "\r\x1b[K";

int BarColumns(int descriptor) {
  const int columns = ScreenColumns(descriptor);
  return columns < 20 ? kFallbackColumns : columns;
}

// SNR is decibels (larger is better), the output error a fraction (smaller is better).
std::string DescribeError(const LayerReport& layer) {
  std::string text = fmt::format("{:.1f} dB", layer.weight_snr_db);
  if (layer.relative_output_error.has_value()) {
    text += fmt::format(" {:.2f} %", 100 * *layer.relative_output_error);
  }
  return text;
}

std::string BarOf(int64_t done, int64_t total) {
  const int64_t filled =
      total > 0 ? std::clamp<int64_t>(done * kBarCells / total, 0, kBarCells) : 0;
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarCells) bar += '>';
  bar.resize(static_cast<size_t>(kBarCells), ' ');
  return "[" + bar + "]";
}

}  // namespace

bool IsTerminal(int descriptor) {
  const char* kind = std::getenv("TERM");
  return isatty(descriptor) == 1 && (kind == nullptr || std::string_view(kind) != "dumb");
}

bool WantsColour(int descriptor) {
  const char* refused = std::getenv("NO_COLOR");
  return IsTerminal(descriptor) && (refused == nullptr || *refused == '\0');
}

std::string DescribeLayer(const LayerReport& layer) {
  const std::string group = layer.group_size > 0 ? fmt::format(" g{}", layer.group_size) : "";
  return fmt::format("{}  [{}, {}]  {} int{}{} {} {}  {}  {}", Printable(layer.name),
                     layer.out_features, layer.in_features, Printable(layer.method), layer.bits,
                     group, layer.symmetric ? "sym" : "asym", Printable(layer.scale_rule),
                     DescribeError(layer), HumanSeconds(layer.seconds));
}

ProgressBar::ProgressBar(ProgressBarOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock), mode_(options_.mode) {
  if (mode_ == BarMode::kAuto) {
    mode_ = IsTerminal(options_.descriptor) ? BarMode::kBar : BarMode::kOff;
  }
  colour_ = WantsColour(options_.descriptor);
}

ProgressBar::~ProgressBar() { Finish(); }

void ProgressBar::OnProgress(const ProgressReport& report) {
  progress_ = report;
  state_.clear();
  last_report_ = clock_.Now();
  const bool news = report.blocks_done != last_plain_block_ || report.stage != last_plain_stage_;
  if (mode_ == BarMode::kPlain && news) {
    last_plain_block_ = report.blocks_done;
    last_plain_stage_ = report.stage;
    Write(Line(kFallbackColumns * 4) + "\n");
  }
  Redraw();
}

void ProgressBar::OnLayer(const LayerReport& report) {
  layer_ = report;
  if (options_.list_layers) Note(DescribeLayer(report));
  Redraw();
}

void ProgressBar::Note(std::string_view line) {
  const bool was_drawn = drawn_;
  Erase();
  Write(Printable(line) + "\n");
  if (was_drawn) {
    last_drawn_ = absl::InfinitePast();
    Redraw();
  }
}

void ProgressBar::SetState(std::string_view state) {
  state_ = Printable(state);
  if (mode_ == BarMode::kPlain && !state_.empty()) Write(state_ + "\n");
  last_drawn_ = absl::InfinitePast();
  Redraw();
}

void ProgressBar::Tick() { Redraw(); }

void ProgressBar::Finish() { Erase(); }

std::string ProgressBar::Line(int columns) const {
  const std::string label = options_.label.empty() ? "" : Printable(options_.label) + " ";
  if (!state_.empty()) return KeepEnd(label + state_, static_cast<size_t>(columns));
  std::string head = label;
  if (mode_ != BarMode::kPlain) head += BarOf(progress_.blocks_done, progress_.blocks_total) + " ";
  head += fmt::format("{:>{}}/{} blocks  {}", progress_.blocks_done,
                      std::to_string(progress_.blocks_total).size(), progress_.blocks_total,
                      NameOf(progress_.stage));

  const std::string bytes =
      progress_.bytes_written > 0 ? "  " + HumanBytes(progress_.bytes_written) : "";
  std::string left;
  if (progress_.eta_seconds > 0) {
    const double since = absl::ToDoubleSeconds(clock_.Now() - last_report_);
    left = "  " + ClockFace(progress_.eta_seconds - std::max(since, 0.0)) + " left";
  }
  std::string middle, tail = bytes + left;
  if (layer_.has_value()) {
    const std::string error = DescribeError(*layer_);
    const auto room_beside = [&](const std::string& end) {
      return columns - static_cast<int>(head.size() + end.size() + error.size()) - 3;
    };
    // The name gets what room is left. On a narrow terminal it says more than the bytes; without
    // room for something to be read it is left out.
    if (room_beside(tail) < kReadableName) tail = left;
    const int room = room_beside(tail);
    if (room >= kShortestName) {
      middle = "  " + KeepEnd(Printable(layer_->name), static_cast<size_t>(room)) + " " + error;
    }
  }
  std::string line = head + middle + tail;
  return line.size() <= static_cast<size_t>(columns) || !middle.empty()
             ? line
             : line.substr(0, static_cast<size_t>(columns));
}

void ProgressBar::Redraw() {
  if (mode_ != BarMode::kBar) return;
  const absl::Time now = clock_.Now();
  if (now - last_drawn_ < options_.redraw_every) return;
  last_drawn_ = now;
  const int columns = options_.columns > 0 ? options_.columns : BarColumns(options_.descriptor);
  // The last column stays free: some terminals wrap when it is written.
  std::string line = Line(columns - 1);
  if (colour_) {
    const size_t open = line.find('['), close = line.find(']');
    if (open != std::string::npos && close != std::string::npos && close > open) {
      line.insert(close, "\x1b[0m");
      line.insert(open + 1, "\x1b[32m");
    }
  }
  Write(std::string(kEraseLine) + line);
  drawn_ = true;
}

void ProgressBar::Erase() {
  if (!drawn_) return;
  Write(kEraseLine);
  drawn_ = false;
}

void ProgressBar::Write(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t written = write(options_.descriptor, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace quantd
