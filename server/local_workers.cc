#include "server/local_workers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace quantd {
namespace {

// A worker that ran this long was well; its next failure begins with the first back-off again.
constexpr absl::Duration kWell = absl::Seconds(30);

absl::StatusOr<std::string> FindWorkerProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return MakeError(Reason::kUnavailable, "cannot find the running program's folder");
  return (self.parent_path() / "quantd-worker").string();
}

// In the child between fork and exec: only async-signal-safe calls.
[[noreturn]] void BecomeWorker(char* const* arguments, pid_t parent) {
  // The worker must not outlive a server that is killed.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  // A process group of its own: Ctrl-C at the terminal reaches the server alone, which then stops
  // its workers in order.
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(arguments[0], arguments);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalWorkers>> LocalWorkers::Start(LocalWorkerOptions options,
                                                                  const Clock& clock) {
  if (options.program.empty()) {
    QD_ASSIGN_OR_RETURN(options.program, FindWorkerProgram());
  }
  if (access(options.program.c_str(), X_OK) != 0) {
    return MakeError(Reason::kUnavailable, "cannot start local workers",
                     Violation{.where = "local-workers",
                               .got = options.program + ", which is not a program",
                               .wanted = "quantd-worker beside quantd"});
  }
  const int count = options.count;
  std::unique_ptr<LocalWorkers> workers(new LocalWorkers(std::move(options), clock));
  {
    absl::MutexLock lock(&workers->mutex_);
    workers->pids_.assign(static_cast<size_t>(count), 0);
  }
  for (int index = 0; index < count; ++index) {
    workers->threads_.emplace_back([self = workers.get(), index] { self->Supervise(index); });
  }
  return workers;
}

LocalWorkers::~LocalWorkers() { Stop(absl::ZeroDuration()); }

void LocalWorkers::Stop(absl::Duration grace) {
  const auto all_gone = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::all_of(pids_.begin(), pids_.end(), [](pid_t pid) { return pid == 0; });
  };
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (const pid_t pid : pids_) {
      if (pid > 0) kill(pid, SIGTERM);
    }
    if (!clock_.Await(mutex_, absl::Condition(&all_gone), clock_.Now() + grace)) {
      for (const pid_t pid : pids_) {
        if (pid > 0) kill(pid, SIGKILL);
      }
    }
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

std::vector<pid_t> LocalWorkers::pids() const {
  absl::MutexLock lock(&mutex_);
  std::vector<pid_t> running;
  std::copy_if(pids_.begin(), pids_.end(), std::back_inserter(running),
               [](pid_t pid) { return pid > 0; });
  return running;
}

pid_t LocalWorkers::Spawn(int index) {
  const std::string name = absl::StrCat(options_.name, "-", index + 1);
  std::vector<std::string> words = {options_.program, "agent",
                                    "--server",       options_.server,
                                    "--name",         name,
                                    "--scratch",      options_.scratch + "/" + name,
                                    "--log-format",   options_.log_format,
                                    "--log-level",    options_.log_level};
  if (!options_.token_file.empty()) {
    words.insert(words.end(), {"--token-file", options_.token_file});
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  absl::MutexLock lock(&mutex_);
  if (stopping_) return -1;
  const pid_t pid = fork();
  if (pid == 0) BecomeWorker(arguments.data(), parent);
  if (pid > 0) pids_[static_cast<size_t>(index)] = pid;
  return pid;
}

void LocalWorkers::Supervise(int index) {
  absl::Duration back_off = options_.first_back_off;
  while (true) {
    const absl::Time started = clock_.Now();
    // PR_SET_PDEATHSIG is bound to the thread that forks: this one, which lives as long as the
    // server.
    const pid_t pid = Spawn(index);
    int status = 0;
    if (pid > 0) {
      siginfo_t ended{};
      // The process stays a zombie until its id is taken off the list, so that Stop never signals a
      // stranger.
      while (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) < 0 &&
             errno == EINTR) {
      }
      absl::MutexLock lock(&mutex_);
      pids_[static_cast<size_t>(index)] = 0;
      waitpid(pid, &status, 0);
    }
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    if (clock_.Now() - started > kWell) back_off = options_.first_back_off;
    spdlog::warn("local worker {} has ended ({}); starting it again in {}", index + 1,
                 pid <= 0              ? "could not be started"
                 : WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status))
                                       : absl::StrCat("exit code ", WEXITSTATUS(status)),
                 absl::FormatDuration(back_off));
    if (clock_.Await(mutex_, absl::Condition(&stopping_), clock_.Now() + back_off)) return;
    back_off = std::min(back_off * 2, options_.longest_back_off);
  }
}

}  // namespace quantd
