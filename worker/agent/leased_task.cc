#include "worker/agent/leased_task.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/exceptions.h"
#include "base/files.h"
#include "base/json.h"
#include "base/threads.h"
#include "engine/backend/kernels.h"
#include "proto/convert.h"
#include "proto/convert_time.h"
#include "spdlog/spdlog.h"
#include "worker/agent/task_inputs.h"
#include "worker/runner/memory_limit.h"

namespace quantd {
namespace {

constexpr char kRequestFile[] = "request.json";
constexpr char kOutputFolder[] = "out";
constexpr char kJournalFolder[] = "journal";
constexpr char kInputFolder[] = "inputs";

// The smaller of two limits of which 0 means none.
template <typename Number>
Number Stricter(Number a, Number b) {
  if (a == 0 || b == 0) return std::max(a, b);
  return std::min(a, b);
}

absl::Duration RunTimeOf(const v1::TaskAssignment& assignment) {
  const absl::Duration duration = FromProto(assignment.max_run_time());
  return duration > absl::ZeroDuration() ? duration : absl::InfiniteDuration();
}

v1::TaskEvent EventOf(const ProgressReport& progress) {
  v1::TaskEvent event;
  *event.mutable_progress() = ToProto(progress);
  return event;
}

v1::TaskEvent EventOf(const LayerReport& layer) {
  v1::TaskEvent event;
  *event.mutable_layer() = ToProto(layer);
  return event;
}

v1::TaskEvent EventOf(const SealedFile& file) {
  v1::TaskEvent event;
  *event.mutable_file_sealed() = ToProto(file);
  return event;
}

v1::TaskEvent EventOf(const RunnerWarning& warning) {
  v1::TaskEvent event;
  event.mutable_warning()->set_text(warning.text);
  return event;
}

// The child keeps these for its outcome.
v1::TaskEvent EventOf(const RunnerResult&) { return {}; }
v1::TaskEvent EventOf(const RunnerError&) { return {}; }

}  // namespace

std::unique_ptr<LeasedTask> LeasedTask::Start(v1::TaskAssignment assignment,
                                              const std::string& blob_store_uri,
                                              TaskResources resources, std::function<void()> wake) {
  std::unique_ptr<LeasedTask> task(
      new LeasedTask(std::move(assignment), std::move(resources), std::move(wake)));
  task->thread_ = std::thread([raw = task.get(), blob_store_uri] { raw->Run(blob_store_uri); });
  return task;
}

LeasedTask::LeasedTask(v1::TaskAssignment assignment, TaskResources resources,
                       std::function<void()> wake)
    : assignment_(std::move(assignment)),
      resources_(std::move(resources)),
      wake_(std::move(wake)),
      folder_(absl::StrCat(resources_.scratch_folder, "/task-", assignment_.fencing_token())) {}

LeasedTask::~LeasedTask() {
  {
    const absl::MutexLock lock(&mutex_);
    abandoned_ = true;
    if (child_ != nullptr) child_->Kill();
  }
  thread_.join();
  child_.reset();
  if (const absl::Status status = RemoveTree(folder_); !status.ok()) {
    spdlog::warn("cannot remove {}: {}", folder_, std::string(status.message()));
  }
}

// Only what is left in End could still end the process, and the task with it: a worker that cannot
// even say that a task failed had better lose its lease.
void LeasedTask::Run(const std::string& blob_store_uri) {
  End(CatchExceptions("a task of the worker", [&]() -> absl::StatusOr<quantd::Report> {
    QD_RETURN_IF_ERROR(Prepare(blob_store_uri));
    return Follow();
  }));
}

absl::StatusOr<QuantizeRequest> LeasedTask::Request() const {
  auto read = FromProto(assignment_.spec());
  if (!read.ok()) {
    // The server took it, so it is newer: what this worker would leave out is part of what was
    // asked for. Another worker may know it.
    return MakeError(Reason::kUnavailable,
                     "this worker cannot read all that the job asks for; a newer one is needed",
                     ViolationsOf(read.status()));
  }
  QuantizeRequest request = *std::move(read);
  request.output_folder = absl::StrCat(folder_, "/", kOutputFolder);
  request.model_roots.assign(assignment_.model_roots().begin(), assignment_.model_roots().end());
  ResourceRequest& resources = request.resources;
  resources.threads = Stricter(resources.threads, resources_.threads);
  resources.max_memory_bytes = Stricter(resources.max_memory_bytes, resources_.memory_bytes);
  return request;
}

// Everything up to the running child.
absl::Status LeasedTask::Prepare(const std::string& blob_store_uri) {
  QD_ASSIGN_OR_RETURN(blobs_, OpenBlobStore(blob_store_uri));
  QD_RETURN_IF_ERROR(RemoveTree(folder_));
  QD_RETURN_IF_ERROR(MakeFolders(folder_));
  QD_ASSIGN_OR_RETURN(QuantizeRequest request, Request());
  QD_RETURN_IF_ERROR(
      FetchInputs(*blobs_, assignment_, absl::StrCat(folder_, "/", kInputFolder), request));
  const std::string file = absl::StrCat(folder_, "/", kRequestFile);
  QD_RETURN_IF_ERROR(WriteFileAtomic(file, DumpJson(ToJson(request))).status());
  QD_ASSIGN_OR_RETURN(const int64_t free_bytes, FreeBytes(folder_));

  ChildLimits limits = {.file_bytes = std::max<int64_t>(free_bytes, 1),
                        .run_time = RunTimeOf(assignment_),
                        .cancel_grace = resources_.cancel_grace};
  if (request.resources.max_memory_bytes > 0) {
    const int threads = request.resources.threads > 0 ? request.resources.threads : AvailableCpus();
    limits.data_bytes = DataLimitFor(request.resources.max_memory_bytes, threads);
  }
  std::vector<std::string> arguments = {"quantize", "--request-file", file, "--events-fd",
                                        absl::StrCat(Child::kEventsDescriptor)};
  if (resources_.sandbox) arguments.insert(arguments.end(), {"--sandbox", folder_});
  OpenCheckpoint();
  if (checkpoint_ != nullptr) {
    arguments.insert(arguments.end(), {"--journal", absl::StrCat(folder_, "/", kJournalFolder)});
  }
  const absl::MutexLock lock(&mutex_);
  if (abandoned_ || stopped_as_.has_value()) {
    return MakeError(Reason::kCancelled, "stopped before it began");
  }
  QD_ASSIGN_OR_RETURN(child_, Child::Start({.program = resources_.program,
                                            .arguments = std::move(arguments),
                                            .folder = folder_,
                                            .limits = limits},
                                           [this] {
                                             const absl::MutexLock wake_lock(&mutex_);
                                             child_news_ = true;
                                           }));
  return absl::OkStatus();
}

// Passes on what the child tells until it has ended, and returns how.
absl::StatusOr<quantd::Report> LeasedTask::Follow() {
  while (true) {
    Child* child = nullptr;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&child_news_));
      child_news_ = false;
      child = child_.get();
    }
    // Asked before the events are taken: what came before the end is not missed.
    const bool finished = child->finished();
    std::vector<RunnerEvent> events = child->TakeEvents();
    const bool advanced = std::any_of(events.begin(), events.end(), [](const RunnerEvent& event) {
      return std::holds_alternative<ProgressReport>(event);
    });
    // Before they are told, so that a block that is told of is not done again.
    if (advanced || finished) StoreCheckpoint();
    QD_RETURN_IF_ERROR(Publish(std::move(events)));
    if (finished) return child->Outcome();
  }
}

// A task without its checkpoint is a task that takes longer, no more.
void LeasedTask::OpenCheckpoint() {
  if (assignment_.checkpoint_prefix().empty()) return;
  checkpoint_ = std::make_unique<TaskCheckpoint>(
      *blobs_, assignment_.checkpoint_prefix(), assignment_.fencing_token(),
      absl::StrCat(folder_, "/", kJournalFolder), QUANTD_VERSION, CpuKernels().isa);
  const absl::Status status = checkpoint_->Fetch();
  if (!status.ok()) {
    spdlog::warn("cannot fetch what was done of {}: {}", assignment_.task(),
                 std::string(status.message()));
  }
  if (checkpoint_->sealed() == 0) return;
  spdlog::info("{} goes on: {} parts are sealed", assignment_.task(), checkpoint_->sealed());
  const absl::MutexLock lock(&mutex_);
  sealed_parts_ = checkpoint_->sealed();
}

void LeasedTask::StoreCheckpoint() {
  if (checkpoint_ == nullptr) return;
  {
    const absl::MutexLock lock(&mutex_);
    if (abandoned_) return;
  }
  const absl::Status status = checkpoint_->Store();
  // A runner that has ended well takes its journal away, and may just do so.
  if (!status.ok() &&
      PathExists(absl::StrCat(folder_, "/", kJournalFolder, "/", ToAbsl(kFingerprintFile)))) {
    spdlog::warn("cannot store what is done of {}: {}", assignment_.task(),
                 std::string(status.message()));
  }
  const absl::MutexLock lock(&mutex_);
  sealed_parts_ = checkpoint_->sealed();
}

absl::Status LeasedTask::Publish(std::vector<RunnerEvent> events) {
  for (const RunnerEvent& event : events) {
    if (const auto* file = std::get_if<SealedFile>(&event)) {
      {
        // A lease that is lost in this moment does no harm: the blob's name holds the token.
        const absl::MutexLock lock(&mutex_);
        if (abandoned_) return MakeError(Reason::kLeaseLost, "the task was abandoned");
      }
      QD_RETURN_IF_ERROR(
          blobs_->PutFile(absl::StrCat(assignment_.blob_prefix(), file->path),
                          absl::StrCat(folder_, "/", kOutputFolder, "/", file->path)));
    }
    Append(std::visit([](const auto& value) { return EventOf(value); }, event));
  }
  return absl::OkStatus();
}

void LeasedTask::Append(v1::TaskEvent event) {
  {
    const absl::MutexLock lock(&mutex_);
    const bool replaces = event.has_progress() && !events_.empty() &&
                          events_.back().has_progress() &&
                          events_.back().number() > reported_number_;
    if (replaces) {
      event.set_number(last_number_);
      events_.back() = std::move(event);
    } else {
      event.set_number(++last_number_);
      events_.push_back(std::move(event));
    }
  }
  wake_();
}

void LeasedTask::End(absl::StatusOr<quantd::Report> outcome) {
  {
    const absl::MutexLock lock(&mutex_);
    if (child_ != nullptr) child_->Kill();  // it may be us who failed
    v1::TaskReport& end = end_.emplace();
    // A result that was there before the worker left is not thrown away; the server's wish is.
    if (outcome.ok() && stopped_as_ != v1::TaskReport::CANCELLED) {
      end.set_state(v1::TaskReport::SUCCEEDED);
      *end.mutable_result() = ToProto(*outcome);
    } else if (stopped_as_.has_value()) {
      end.set_state(*stopped_as_);
    } else {
      end.set_state(v1::TaskReport::FAILED);
      *end.mutable_error() = ToProto(outcome.status());
    }
    spdlog::info("{} of {} ended: {}{}", assignment_.task(), assignment_.job(),
                 v1::TaskReport::State_Name(end.state()),
                 outcome.ok() ? "" : " (" + std::string(outcome.status().message()) + ")");
  }
  wake_();
}

void LeasedTask::Stop(v1::TaskReport::State as) {
  const absl::MutexLock lock(&mutex_);
  if (stopped_as_.has_value() || end_.has_value()) return;
  stopped_as_ = as;
  if (child_ != nullptr) child_->Cancel();
}

bool LeasedTask::has_news() const {
  const absl::MutexLock lock(&mutex_);
  return last_number_ > reported_number_ || (end_.has_value() && !end_reported_);
}

bool LeasedTask::ended() const {
  const absl::MutexLock lock(&mutex_);
  return end_.has_value();
}

v1::TaskReport LeasedTask::Report(int max_events) {
  const absl::MutexLock lock(&mutex_);
  const size_t count = std::min(events_.size(), static_cast<size_t>(max_events));
  v1::TaskReport report;
  report.set_state(v1::TaskReport::RUNNING);
  if (end_.has_value() && count == events_.size()) {
    report = *end_;
    end_reported_ = true;
  }
  report.set_task(assignment_.task());
  report.set_fencing_token(assignment_.fencing_token());
  report.set_sealed_parts(sealed_parts_);
  for (size_t i = 0; i < count; ++i) *report.add_events() = events_[i];
  if (count > 0) reported_number_ = std::max(reported_number_, events_[count - 1].number());
  return report;
}

void LeasedTask::Acknowledge(int64_t number) {
  const absl::MutexLock lock(&mutex_);
  const auto kept = std::find_if(events_.begin(), events_.end(), [&](const v1::TaskEvent& event) {
    return event.number() > number;
  });
  events_.erase(events_.begin(), kept);
}

}  // namespace quantd
