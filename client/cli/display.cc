#include "client/cli/display.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "proto/convert.h"
#include "terminal/table.h"

namespace quantd {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(250);

}  // namespace

Display::Display(Session& session, const DisplayOptions& options)
    : session_(session), options_(options) {
  if (!options_.bar || session.err_descriptor() < 0 || !IsTerminal(session.err_descriptor())) {
    return;
  }
  absl::MutexLock lock(&mutex_);
  bar_.emplace(ProgressBarOptions{.mode = BarMode::kBar,
                                  .descriptor = session.err_descriptor(),
                                  .list_layers = options_.layers});
  ticker_ = std::thread([this] { Tick(); });
}

Display::~Display() {
  Finish();
  if (ticker_.joinable()) ticker_.join();
}

void Display::Tick() {
  absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&finished_), kTick)) {
    if (bar_.has_value()) bar_->Tick();
  }
}

void Display::OnEvent(const v1::JobEvent& event) {
  absl::MutexLock lock(&mutex_);
  switch (event.event_case()) {
    case v1::JobEvent::kStateChange:
      OnState(event.state_change());
      break;
    case v1::JobEvent::kProgress:
      last_state_.clear();
      if (bar_.has_value()) bar_->OnProgress(FromProto(event.progress()));
      break;
    case v1::JobEvent::kLayer:
      if (bar_.has_value()) {
        bar_->OnLayer(FromProto(event.layer()));
      } else if (options_.layers) {
        NoteLocked(DescribeLayer(FromProto(event.layer())));
      }
      break;
    case v1::JobEvent::kWarning:
      NoteLocked(absl::StrCat("warning: ", event.warning().text()));
      break;
    default:
      break;
  }
}

void Display::OnState(const v1::StateChange& change) {
  switch (change.state()) {
    case v1::Job::PENDING:
      if (change.has_error()) {
        NoteLocked(absl::StrCat("attempt ", change.attempts(), " failed (", change.error().reason(),
                                ": ", change.error().message(), "); trying again"));
      }
      SetStateLocked("waiting for a worker");
      break;
    case v1::Job::RUNNING:
      SetStateLocked(
          change.worker().empty()
              ? "starting"
              : absl::StrCat("starting on ", absl::StripPrefix(change.worker(), "workers/")));
      break;
    case v1::Job::CANCELLING:
      SetStateLocked("stopping");
      break;
    default:
      break;
  }
}

void Display::Note(std::string_view line) {
  absl::MutexLock lock(&mutex_);
  NoteLocked(line);
}

void Display::NoteLocked(std::string_view line) {
  if (bar_.has_value()) {
    bar_->Note(line);
  } else {
    session_.err() << Printable(line) << std::endl;
  }
}

void Display::SetState(std::string_view state) {
  absl::MutexLock lock(&mutex_);
  SetStateLocked(state);
}

void Display::SetStateLocked(std::string_view state) {
  if (bar_.has_value()) {
    bar_->SetState(state);
  } else if (state != last_state_) {
    NoteLocked(absl::StrCat(options_.job, ": ", ToAbsl(state)));
  }
  last_state_ = state;
}

void Display::Finish() {
  absl::MutexLock lock(&mutex_);
  finished_ = true;
  if (bar_.has_value()) bar_->Finish();
  bar_.reset();
}

}  // namespace quantd
