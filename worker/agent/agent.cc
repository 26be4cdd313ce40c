#include "worker/agent/agent.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "base/exceptions.h"
#include "proto/convert_time.h"
#include "spdlog/spdlog.h"

namespace quantd {
namespace {

// Refused so often in a row while idle, the name belongs to another process.
constexpr int kSessionsLost = 3;
// The last words of a worker that leaves wait no longer than this for an answer.
constexpr absl::Duration kFarewellTimeout = absl::Seconds(2);
constexpr absl::Duration kIdlePause = absl::Seconds(1);

int64_t FreeMemoryBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kibibytes = 0;
  while (file >> key >> kibibytes) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return 0;
}

}  // namespace

Agent::Agent(AgentOptions options, Synchronizer& synchronizer, const Clock& clock)
    : options_(std::move(options)),
      synchronizer_(synchronizer),
      clock_(clock),
      random_(options_.jitter_seed) {}

Agent::~Agent() = default;

bool Agent::Run() {
  const absl::Status status = CatchExceptions("a turn of the worker", [this] { return Turn(); });
  if (!status.ok()) WithoutAnswer(status);
  return !Left();
}

absl::Status Agent::Turn() {
  WaitUntilDue();
  const v1::SynchronizeRequest request = WhatIs();
  last_call_ = clock_.Now();
  const auto response = Call(request);
  if (!response.ok() && ReasonOf(response.status()) == Reason::kCancelled && HungUp()) {
    next_call_ = absl::InfinitePast();
    return absl::OkStatus();
  }
  if (request.draining() && !request.has_task()) farewell_said_ = true;
  QD_RETURN_IF_ERROR(response.status());
  MakeItSo(*response);
  return absl::OkStatus();
}

void Agent::WaitUntilDue() {
  if (task_ == nullptr && !backing_off_) return;
  const absl::MutexLock lock(&mutex_);
  // During a back-off only a shutdown is news: the server cannot be told anyway.
  const auto something = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return leaving_is_new_ || (!backing_off_ && task_->has_news());
  };
  clock_.Await(mutex_, absl::Condition(&something), std::min(next_call_, leave_by_));
  leaving_is_new_ = false;
  if (backing_off_ || !task_->has_news()) return;
  // Events of the next moment go with those that are there; an end waits for nothing.
  const auto urgent = [this]()
                          ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return leaving_ || task_->ended(); };
  clock_.Await(mutex_, absl::Condition(&urgent), last_call_ + options_.batch_events);
}

v1::SynchronizeRequest Agent::WhatIs() {
  v1::SynchronizeRequest request;
  request.set_worker(options_.worker);
  request.set_session(options_.session);
  *request.mutable_capabilities() = options_.capabilities;
  request.set_free_memory_bytes(FreeMemoryBytes());
  request.set_draining(leaving() || drained_);
  if (task_ != nullptr) {
    if (leaving()) task_->Stop(v1::TaskReport::RETURNED);
    *request.mutable_task() = task_->Report(options_.events_per_call);
    const v1::TaskReport& report = request.task();
    const bool silent = report.state() == v1::TaskReport::RUNNING && report.events().empty();
    if (silent && !leaving() && heartbeat_ > absl::ZeroDuration()) {
      *request.mutable_long_poll() = ToProto(std::min(heartbeat_, options_.long_poll));
    }
  } else if (!request.draining()) {
    *request.mutable_long_poll() = ToProto(options_.long_poll);
  }
  return request;
}

absl::StatusOr<v1::SynchronizeResponse> Agent::Call(const v1::SynchronizeRequest& request) {
  const absl::Duration timeout = leaving() ? std::min(options_.call_timeout, kFarewellTimeout)
                                           : FromProto(request.long_poll()) + options_.call_timeout;
  const bool silent = request.has_task() && request.has_long_poll();
  Hold(silent);
  // What was told before this moment has ended nothing.
  if (silent && task_->has_news()) Wake();
  auto response = synchronizer_.Call(request, timeout);
  Hold(false);
  return response;
}

void Agent::MakeItSo(const v1::SynchronizeResponse& response) {
  failures_ = 0;
  sessions_lost_ = 0;
  backing_off_ = false;
  drained_ = response.drain();
  const absl::Time now = clock_.Now();
  const bool was_idle = task_ == nullptr;
  heartbeat_ = FromProto(response.next_call_delay());
  // While it held a silent call the server has listened: the next one begins at once.
  next_call_ = (was_idle ? now : last_call_) + std::min(heartbeat_, options_.longest_silence);
  lease_expires_ = last_call_ + FromProto(response.lease());
  if (!was_idle) task_->Acknowledge(response.acknowledged_event());
  Obey(response);
  // A server that answers "idle" at once, over and over, is not called without pause.
  const bool held = now - last_call_ > absl::Milliseconds(100);
  if (was_idle && task_ == nullptr && !held) {
    backing_off_ = true;
    next_call_ = now + kIdlePause;
  }
}

void Agent::Obey(const v1::SynchronizeResponse& response) {
  switch (response.desired()) {
    case v1::SynchronizeResponse::RUN: {
      const bool same = task_ != nullptr && task_->name() == response.assignment().task() &&
                        task_->fencing_token() == response.assignment().fencing_token();
      if (same) return;
      if (task_ != nullptr) Forget("the server gave another task");
      Begin(response);
      return;
    }
    case v1::SynchronizeResponse::CANCEL:
      if (task_ != nullptr) task_->Stop(v1::TaskReport::CANCELLED);
      return;
    case v1::SynchronizeResponse::IDLE:
      if (task_ != nullptr) Forget(task_->ended() ? "it is done" : "the server wants it no longer");
      return;
    default:  // of a newer server: whatever it is, it is no order to stop
      return;
  }
}

void Agent::Begin(const v1::SynchronizeResponse& response) {
  const v1::TaskAssignment& assignment = response.assignment();
  spdlog::info("{} of {} begins: attempt {}, fencing token {}", assignment.task(), assignment.job(),
               assignment.attempt(), assignment.fencing_token());
  task_ = LeasedTask::Start(assignment, response.blob_store_uri(), options_.resources,
                            [this] { Wake(); });
}

void Agent::WithoutAnswer(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kAborted) {
    if (task_ != nullptr) {
      Forget("the lease is lost");
      return;
    }
    if (++sessions_lost_ >= kSessionsLost) exit_status_ = status;
  } else if (failures_ == 0) {
    spdlog::warn("no answer from the server, trying again: {}", std::string(status.message()));
  }
  if (task_ != nullptr && clock_.Now() >= lease_expires_) Forget("the lease has passed");
  BackOff();
}

// Doubled each time, and between half and all of it: workers that lost the same server do not come
// back in one moment.
void Agent::BackOff() {
  ++failures_;
  backing_off_ = true;
  const double doublings = std::min(failures_ - 1, 20);
  const absl::Duration longest =
      std::min(options_.last_retry, options_.first_retry * std::exp2(doublings));
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  next_call_ = clock_.Now() + longest * share;
}

void Agent::Forget(std::string_view why) {
  spdlog::debug("{} is forgotten: {}", task_->name(), why);
  task_.reset();
  lease_expires_ = absl::InfiniteFuture();
}

bool Agent::Left() {
  if (!exit_status_.ok()) return true;
  if (drained_ && task_ == nullptr && farewell_said_) return true;
  if (!leaving()) return false;
  if (task_ == nullptr) return farewell_said_;
  if (leave_by_ == absl::InfiniteFuture()) leave_by_ = clock_.Now() + options_.shutdown_grace;
  if (clock_.Now() < leave_by_) return false;
  spdlog::warn("{} could not be handed back in time", task_->name());
  task_.reset();
  return true;
}

void Agent::Shutdown() {
  const absl::MutexLock lock(&mutex_);
  leaving_ = true;
  leaving_is_new_ = true;
  HangUp();
}

bool Agent::leaving() const {
  const absl::MutexLock lock(&mutex_);
  return leaving_;
}

// Conditions that wait on mutex_ are looked at again when it is released.
void Agent::Wake() {
  const absl::MutexLock lock(&mutex_);
  if (held_) HangUp();
}

void Agent::Hold(bool held) {
  const absl::MutexLock lock(&mutex_);
  held_ = held;
}

void Agent::HangUp() {
  held_ = false;
  hung_up_ = true;
  synchronizer_.Interrupt();
}

bool Agent::HungUp() {
  const absl::MutexLock lock(&mutex_);
  return std::exchange(hung_up_, false);
}

}  // namespace quantd
