#include "worker/runner/child.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "base/exceptions.h"
#include "worker/runner/exit_codes.h"
#include "worker/runner/launch.h"

namespace quantd {
namespace {

constexpr size_t kStderrTailBytes = 4096;
constexpr size_t kMaxQueuedEvents = 1'000'000;
// A child that has sent garbage may be about to say by its exit code that memory ran out.
constexpr absl::Duration kGarbageGrace = absl::Seconds(1);
// Once it has closed its events it should be gone; this long it may take.
constexpr absl::Duration kExitGrace = absl::Seconds(5);

using Steady = std::chrono::steady_clock;

Steady::time_point After(absl::Duration duration) {
  if (duration >= absl::Hours(24 * 365)) return Steady::time_point::max();
  return Steady::now() + absl::ToChronoNanoseconds(duration);
}

// The last lines that the child wrote for people, on one line.
std::string OneLine(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      if (!line.empty() && !line.ends_with("; ")) line += "; ";
    } else {
      line += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    }
  }
  while (line.ends_with(' ') || line.ends_with(';')) line.pop_back();
  return line;
}

}  // namespace

struct Child::Supervisor {
  ChildOptions options;
  std::function<void()> wake;
  Descriptor control;  // eventfd: a request was made
  Pipe events_pipe, stderr_pipe;
  std::thread thread;

  mutable absl::Mutex mutex;
  std::vector<RunnerEvent> events ABSL_GUARDED_BY(mutex);
  bool cancel_wanted ABSL_GUARDED_BY(mutex) = false;
  bool kill_wanted ABSL_GUARDED_BY(mutex) = false;
  std::optional<absl::StatusOr<Report>> outcome ABSL_GUARDED_BY(mutex);

  // The thread's own.
  pid_t pid = -1;  // until it is waited for
  EventReader reader;
  std::string stderr_tail;
  std::optional<absl::StatusOr<Report>> said;  // the result or error event
  absl::Status garbage;
  bool terminated = false;  // we sent SIGTERM
  bool killed = false;      // we sent SIGKILL
  bool stopped_by_request = false, out_of_time = false;
  Steady::time_point run_until = Steady::time_point::max();
  Steady::time_point kill_at = Steady::time_point::max();

  void Run();
  absl::StatusOr<Report> Supervise();
  void Watch();
  bool ReadEvents();
  void ReadStderr();
  void Accept(std::vector<RunnerEvent> fresh);
  void ObeyRequests();
  void EnforceTimes();
  void Terminate(absl::Duration grace);
  void KillNow();
  int WaitForExit();
  absl::StatusOr<Report> Explain(int status, bool memory_ran_out) const;
  absl::Status Crash(std::string_view how) const;
  void End(absl::StatusOr<Report> result);
  void Request(bool kill_it);
};

void Child::Supervisor::Run() {
  auto result = CatchExceptions("watching the runner", [this] { return Supervise(); });
  if (pid > 0) {  // whatever was thrown, no child is left
    KillNow();
    WaitForExit();
  }
  End(std::move(result));
}

absl::StatusOr<Report> Child::Supervisor::Supervise() {
  const int64_t kills_before = OutOfMemoryKills();
  auto launched = Launch(options, stderr_pipe.write.get(), events_pipe.write.get());
  events_pipe.write.Close();
  stderr_pipe.write.Close();
  QD_RETURN_IF_ERROR(launched.status());
  pid = *launched;
  run_until = After(options.limits.run_time);
  Watch();
  const int status = WaitForExit();
  ReadStderr();
  if (garbage.ok()) garbage = reader.Finish();
  return Explain(status, OutOfMemoryKills() > kills_before);
}

// Until the child closes its events or is gone.
void Child::Supervisor::Watch() {
  while (true) {
    std::array<pollfd, 3> waiting = {
        {{.fd = events_pipe.read.get(), .events = POLLIN, .revents = 0},
         {.fd = control.get(), .events = POLLIN, .revents = 0},
         {.fd = stderr_pipe.read.get(), .events = POLLIN, .revents = 0}}};
    // At least once a second: it may have died while something else holds its pipe open.
    const auto next = std::min({run_until, kill_at, Steady::now() + std::chrono::seconds(1)});
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Steady::now()).count();
    const int ready =
        poll(waiting.data(), waiting.size(), static_cast<int>(std::max<int64_t>(wait, 0)));
    if (waiting[1].revents != 0) ObeyRequests();
    EnforceTimes();
    if (waiting[2].revents != 0) ReadStderr();
    if (waiting[0].revents != 0 && !ReadEvents()) return;
    if (ready == 0) {
      siginfo_t info = {};
      if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == pid) {
        ReadEvents();
        return;
      }
    }
  }
}

// False at the end of the stream.
bool Child::Supervisor::ReadEvents() {
  std::array<char, 65536> buffer;
  std::vector<RunnerEvent> fresh;
  bool open = true;
  while (true) {
    const ssize_t got = read(events_pipe.read.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      open = got < 0 && errno == EAGAIN;
      break;
    }
    if (!garbage.ok()) continue;
    garbage = reader.Feed({buffer.data(), static_cast<size_t>(got)}, fresh);
    if (!garbage.ok()) kill_at = std::min(kill_at, After(kGarbageGrace));
  }
  Accept(std::move(fresh));
  return open;
}

void Child::Supervisor::ReadStderr() {
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t got = read(stderr_pipe.read.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      // A closed stderr is always readable: without it the loop would spin.
      if (got == 0) stderr_pipe.read.Close();
      return;
    }
    stderr_tail.append(buffer.data(), static_cast<size_t>(got));
    if (stderr_tail.size() > kStderrTailBytes) {
      stderr_tail.erase(0, stderr_tail.size() - kStderrTailBytes);
    }
  }
}

void Child::Supervisor::Accept(std::vector<RunnerEvent> fresh) {
  if (fresh.empty()) return;
  {
    const absl::MutexLock lock(&mutex);
    for (RunnerEvent& event : fresh) {
      if (auto* result = std::get_if<RunnerResult>(&event)) {
        said.emplace(std::move(result->report));
      } else if (auto* error = std::get_if<RunnerError>(&event)) {
        said.emplace(error->status());
      } else if (std::holds_alternative<ProgressReport>(event) && !events.empty() &&
                 std::holds_alternative<ProgressReport>(events.back())) {
        events.back() = std::move(event);
      } else if (events.size() < kMaxQueuedEvents) {
        events.push_back(std::move(event));
      }
    }
  }
  wake();
}

void Child::Supervisor::ObeyRequests() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(control.get(), &count, sizeof count);
  bool kill_it = false;
  {
    const absl::MutexLock lock(&mutex);
    kill_it = kill_wanted;
  }
  stopped_by_request = true;
  if (kill_it) {
    KillNow();
  } else {
    Terminate(options.limits.cancel_grace);
  }
}

void Child::Supervisor::EnforceTimes() {
  const auto now = Steady::now();
  if (now >= kill_at) KillNow();
  if (now >= run_until) {
    run_until = Steady::time_point::max();
    out_of_time = true;
    Terminate(options.limits.cancel_grace);
  }
}

void Child::Supervisor::Terminate(absl::Duration grace) {
  if (terminated) return;
  terminated = true;
  kill(pid, SIGTERM);
  kill_at = std::min(kill_at, After(grace));
}

void Child::Supervisor::KillNow() {
  kill_at = Steady::time_point::max();
  killed = true;
  // The whole group: what the child may have started goes with it.
  if (kill(-pid, SIGKILL) != 0) kill(pid, SIGKILL);
}

int Child::Supervisor::WaitForExit() {
  const auto give_up = After(kExitGrace);
  int status = 0;
  auto pause = std::chrono::microseconds(100);
  while (true) {
    const pid_t got = waitpid(pid, &status, killed ? 0 : WNOHANG);
    if (got == pid || (got < 0 && errno != EINTR)) {
      pid = -1;
      return got < 0 ? -1 : status;
    }
    if (Steady::now() >= std::min(give_up, kill_at)) KillNow();
    // Closing its pipes and dying are one step for a child that ends: this waits for microseconds.
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20000));
  }
}

absl::Status Child::Supervisor::Crash(std::string_view how) const {
  const std::string tail = OneLine(stderr_tail);
  return MakeError(Reason::kRunnerCrashed, absl::StrCat("the runner ", ToAbsl(how),
                                                        tail.empty() ? "" : "; it said: ", tail));
}

absl::StatusOr<Report> Child::Supervisor::Explain(int status, bool memory_ran_out) const {
  const bool exited = WIFEXITED(status);
  const int code = exited ? WEXITSTATUS(status) : -1;
  const bool done = exited && (code == kExitDone || code == kExitGateMissed);
  // A result that came before the request to stop is a result.
  if (done && said.has_value() && said->ok()) return *said;
  if (out_of_time) {
    return MakeError(Reason::kRunnerTimeLimit,
                     absl::StrCat("the runner was stopped after ",
                                  absl::ToInt64Seconds(options.limits.run_time), " s"));
  }
  if (stopped_by_request) return MakeError(Reason::kCancelled, "the runner was stopped");
  const bool failed_to_allocate = stderr_tail.find("bad_alloc") != std::string::npos ||
                                  stderr_tail.find("memory allocation of") != std::string::npos;
  if (code == kExitNoMemory || (!exited && WTERMSIG(status) == SIGABRT && failed_to_allocate)) {
    return MakeError(Reason::kRunnerMemoryLimit, "an allocation of the runner failed");
  }
  if (!exited && WTERMSIG(status) == SIGKILL && !killed && memory_ran_out) {
    return MakeError(Reason::kRunnerMemoryLimit, "the kernel ended the runner for lack of memory");
  }
  if (!garbage.ok()) return garbage;
  if (!exited) return Crash(absl::StrCat("was killed by ", SignalName(WTERMSIG(status))));
  if (said.has_value() && !said->ok()) {
    // It obeyed a SIGTERM that was not ours: somebody else stopped it, and another attempt may do
    // better.
    if (ReasonOf(said->status()) == Reason::kCancelled) return Crash("was stopped from outside");
    return said->status();
  }
  return Crash(absl::StrCat("ended with exit code ", code, " and no result"));
}

void Child::Supervisor::End(absl::StatusOr<Report> result) {
  {
    const absl::MutexLock lock(&mutex);
    outcome = std::move(result);
  }
  wake();
}

void Child::Supervisor::Request(bool kill_it) {
  {
    const absl::MutexLock lock(&mutex);
    if (outcome.has_value()) return;
    (kill_it ? kill_wanted : cancel_wanted) = true;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(control.get(), &one, sizeof one);
}

absl::StatusOr<std::unique_ptr<Child>> Child::Start(ChildOptions options,
                                                    std::function<void()> wake) {
  auto supervisor = std::make_unique<Supervisor>();
  supervisor->options = std::move(options);
  supervisor->wake = std::move(wake);
  supervisor->control = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (supervisor->control.get() < 0) return ErrnoError("cannot watch a child", "eventfd", errno);
  QD_ASSIGN_OR_RETURN(supervisor->events_pipe, Pipe::Make());
  QD_ASSIGN_OR_RETURN(supervisor->stderr_pipe, Pipe::Make());
  // The child dies with the thread that forks it, so the thread that watches it does.
  supervisor->thread = std::thread([raw = supervisor.get()] { raw->Run(); });
  return std::unique_ptr<Child>(new Child(std::move(supervisor)));
}

std::string Child::OwnProgram() {
  std::array<char, 4096> buffer;
  const ssize_t length = readlink("/proc/self/exe", buffer.data(), buffer.size());
  return length > 0 ? std::string(buffer.data(), static_cast<size_t>(length)) : "/proc/self/exe";
}

Child::Child(std::unique_ptr<Supervisor> supervisor) : supervisor_(std::move(supervisor)) {}

Child::~Child() {
  Kill();
  supervisor_->thread.join();
}

std::vector<RunnerEvent> Child::TakeEvents() {
  const absl::MutexLock lock(&supervisor_->mutex);
  return std::exchange(supervisor_->events, {});
}

void Child::Cancel() { supervisor_->Request(/*kill_it=*/false); }
void Child::Kill() { supervisor_->Request(/*kill_it=*/true); }

bool Child::finished() const {
  const absl::MutexLock lock(&supervisor_->mutex);
  return supervisor_->outcome.has_value();
}

absl::StatusOr<Report> Child::Outcome() {
  const absl::MutexLock lock(&supervisor_->mutex);
  Supervisor* const raw = supervisor_.get();
  const auto ended = [raw]() ABSL_SHARED_LOCKS_REQUIRED(raw->mutex) {
    return raw->outcome.has_value();
  };
  supervisor_->mutex.Await(absl::Condition(&ended));
  return *supervisor_->outcome;
}

}  // namespace quantd
