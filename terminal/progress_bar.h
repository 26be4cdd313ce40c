// One line that shows how far a quantization has come, and the lines above it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "base/clock.h"
#include "engine/types/progress.h"

namespace quantd {

enum class BarMode {
  kAuto,   // a bar if the descriptor is a terminal that can move its cursor, else nothing
  kBar,    // a bar, whatever the descriptor is
  kPlain,  // no bar: one line per block, for logs
  kOff,    // nothing but notes
};

struct ProgressBarOptions {
  BarMode mode = BarMode::kAuto;
  int descriptor = 2;        // stderr
  std::string label = {};    // stands before the bar, for example the job's name
  bool list_layers = false;  // one line per linear (-v), in every mode
  absl::Duration redraw_every = absl::Milliseconds(100);
  int columns = 0;  // 0: as wide as the terminal is at each redraw
};

// Whether `descriptor` is a terminal on which a line can be redrawn.
bool IsTerminal(int descriptor);
// Whether colours are wanted there: a terminal, and NO_COLOR is not set (https://no-color.org).
bool WantsColour(int descriptor);

// Feed it the reports as they come; it redraws at most every `redraw_every`. Write errors are
// ignored: progress is not worth failing for. Thread-compatible.
//
//   [=========>         ]  3/8 blocks  quantize  …layers.3.mlp.down_proj 21.4 dB 1.2 %  2.83 MB
//   0:07 left
class ProgressBar {
 public:
  explicit ProgressBar(ProgressBarOptions options = {}, const Clock& clock = Clock::System());
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void OnProgress(const ProgressReport& report);
  void OnLayer(const LayerReport& report);
  // A line that stays, above the bar: warnings, files. Control characters are replaced.
  void Note(std::string_view line);
  // A word in place of the stage, until the next progress: "waiting for a worker". Empty to show
  // the stage again.
  void SetState(std::string_view state);
  // Lets the time left count down while no report comes.
  void Tick();
  // Erases the bar; what is written next begins at the left edge. Later reports draw it again.
  void Finish();

  // The line as it would be drawn, `columns` wide at most, without colours.
  std::string Line(int columns) const;

 private:
  void Redraw();
  void Erase();
  void Write(std::string_view text) const;

  const ProgressBarOptions options_;
  const Clock& clock_;
  BarMode mode_;
  bool colour_ = false;
  bool drawn_ = false;
  absl::Time last_drawn_ = absl::InfinitePast();
  absl::Time last_report_ = absl::InfinitePast();
  int64_t last_plain_block_ = -1;
  Stage last_plain_stage_ = Stage::kOpen;
  std::string state_;
  ProgressReport progress_;
  std::optional<LayerReport> layer_;
};

// "model.layers.3.mlp.down_proj  rtn int4 g128  21.4 dB  1.2 %": the line of -v.
std::string DescribeLayer(const LayerReport& layer);

}  // namespace quantd
