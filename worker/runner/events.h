// What a runner process tells its parent while it works: one JSON object per line on a pipe.
//
//   {"event":"progress","stage":"quantize","blocks_done":3,…}     ProgressReport
//   {"event":"layer","name":"model.layers.0.mlp.up_proj",…}       LayerReport
//   {"event":"file","path":"model.safetensors","bytes":…,…}       SealedFile
//   {"event":"warning","text":"…"}
//   {"event":"result","report":{…}}                               last: the work is done
//   {"event":"error","reason":"DISK_FULL","message":"…","violations":[…]}   last: it failed
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/error.h"
#include "engine/types/progress.h"
#include "engine/types/report.h"

namespace quantd {

struct RunnerWarning {
  std::string text;
};
struct RunnerResult {
  Report report;
};
// An error, in the parts that go over the pipe.
struct RunnerError {
  Reason reason = Reason::kInternal;
  std::string message;
  std::vector<Violation> violations;

  static RunnerError Of(const absl::Status& status);
  absl::Status status() const;  // never OK
};

using RunnerEvent =
    std::variant<ProgressReport, LayerReport, SealedFile, RunnerWarning, RunnerResult, RunnerError>;

// One line, ending in a newline.
std::string ToLine(const RunnerEvent& event);
// INTERNAL for a line that is no event: bad JSON, an unknown kind, wrong fields, a file path that
// leaves its folder.
absl::StatusOr<RunnerEvent> ParseEvent(std::string_view line);

// Writes events to a descriptor that it does not own. After a failed write it writes nothing more:
// the parent is gone. Thread-compatible.
class EventWriter {
 public:
  explicit EventWriter(int descriptor) : descriptor_(descriptor) {}
  void Write(const RunnerEvent& event);
  bool broken() const { return broken_; }

 private:
  int descriptor_;
  bool broken_ = false;
};

// Cuts a stream of bytes into lines and parses them. Thread-compatible.
class EventReader {
 public:
  // A line beyond this is an error: the report of a model with a hundred thousand linears stays far
  // below.
  static constexpr int64_t kMaxLineBytes = int64_t{64} << 20;

  explicit EventReader(int64_t max_line_bytes = kMaxLineBytes) : max_line_bytes_(max_line_bytes) {}

  // Appends the events that `bytes` completes to `events`. After an error every further call gives
  // the same error, and the events before the bad line are kept.
  absl::Status Feed(std::string_view bytes, std::vector<RunnerEvent>& events);
  // The stream has ended: an error if it ended within a line.
  absl::Status Finish() const;

 private:
  int64_t max_line_bytes_;
  std::string partial_;
  absl::Status error_;
};

}  // namespace quantd
