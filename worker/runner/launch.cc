#include "worker/runner/launch.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "base/error.h"
#include "worker/runner/memory_limit.h"

namespace quantd {
namespace {

// Out of the way of 0 to 3, which the child's own descriptors take.
constexpr int kFirstDescriptor = 16;

// What a child may know of our environment: how to find its libraries, and sanitizers' and kernels'
// switches. Secrets of the worker stay with the worker.
constexpr std::array kPassedOn = {
    "PATH",         "LANG",          "LC_ALL",       "LD_LIBRARY_PATH",
    "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "QUANTD_CPU_ISA"};

// What failed between fork and exec, sent over a pipe that exec closes.
struct LaunchFailure {
  int step = 0;
  int error_number = 0;
};
constexpr std::array kSteps = {"run", "limits", "folder", "descriptors"};
enum Step { kRun, kSetLimits, kFolder, kDescriptors };

struct Prepared {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const char* folder;
  ChildLimits limits;
  int null_descriptor, stderr_descriptor, events_descriptor, failure_descriptor;
  pid_t parent;
};

bool LimitTo(__rlimit_resource resource, int64_t bytes) {
  const rlimit limit = {.rlim_cur = static_cast<rlim_t>(bytes),
                        .rlim_max = static_cast<rlim_t>(bytes)};
  return setrlimit(resource, &limit) == 0;
}

[[noreturn]] void FailChild(const Prepared& prepared, Step step) {
  const LaunchFailure failure = {.step = step, .error_number = errno};
  [[maybe_unused]] const ssize_t written =
      write(prepared.failure_descriptor, &failure, sizeof failure);
  _exit(127);
}

// Between fork and exec: other threads are gone and may have held any lock, so only
// async-signal-safe calls.
[[noreturn]] void BecomeChild(const Prepared& prepared) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(127);  // it died before the line above
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);

  if (dup2(prepared.null_descriptor, 0) < 0 || dup2(prepared.null_descriptor, 1) < 0 ||
      dup2(prepared.stderr_descriptor, 2) < 0 ||
      dup2(prepared.events_descriptor, Child::kEventsDescriptor) < 0) {
    FailChild(prepared, kDescriptors);
  }
  // The failure pipe is close-on-exec; so is everything of ours, but a library may have forgotten
  // it.
  const auto failure = static_cast<unsigned>(prepared.failure_descriptor);
  syscall(SYS_close_range, Child::kEventsDescriptor + 1U, failure - 1, 0U);
  syscall(SYS_close_range, failure + 1, ~0U, 0U);

  const ChildLimits& limits = prepared.limits;
  if (!LimitTo(RLIMIT_CORE, 0) ||
      (limits.file_bytes > 0 && !LimitTo(RLIMIT_FSIZE, limits.file_bytes)) ||
      (limits.data_bytes > 0 && !LimitData(limits.data_bytes))) {
    FailChild(prepared, kSetLimits);
  }
  if (chdir(prepared.folder) != 0) FailChild(prepared, kFolder);
  execve(prepared.program, prepared.arguments, prepared.environment);
  FailChild(prepared, kRun);
}

std::vector<std::string> EnvironmentOf(const ChildOptions& options) {
  std::vector<std::string> entries = {"TMPDIR=" + options.folder};
  for (const char* name : kPassedOn) {
    if (const char* value = std::getenv(name)) entries.push_back(std::string(name) + "=" + value);
  }
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

absl::StatusOr<Descriptor> AboveStandard(int descriptor) {
  const Descriptor owned(descriptor);
  const int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, kFirstDescriptor);
  if (moved < 0) return ErrnoError("cannot make a pipe", "descriptor", errno);
  return Descriptor(moved);
}

// The number behind "name " in a file of "name number" lines; 0 if there is none.
int64_t CounterIn(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string key;
  int64_t value = 0;
  while (file >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

// The folder of our memory cgroup, version 2 or 1; "" if there is none.
std::string MemoryCgroup() {
  std::ifstream file("/proc/self/cgroup");
  std::string line, folder;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers == "memory") return "/sys/fs/cgroup/memory" + line.substr(second + 1);
    if (controllers.empty()) folder = "/sys/fs/cgroup" + line.substr(second + 1);
  }
  return folder;
}

}  // namespace

absl::StatusOr<Pipe> Pipe::Make() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("cannot make a pipe", "pipe", errno);
  Descriptor second(ends[1]);
  QD_ASSIGN_OR_RETURN(Descriptor read, AboveStandard(ends[0]));
  QD_ASSIGN_OR_RETURN(Descriptor write, AboveStandard(fcntl(second.get(), F_DUPFD_CLOEXEC, 0)));
  fcntl(read.get(), F_SETFL, O_NONBLOCK);
  return Pipe{.read = std::move(read), .write = std::move(write)};
}

absl::StatusOr<pid_t> Launch(const ChildOptions& options, int stderr_descriptor,
                             int events_descriptor) {
  std::vector<std::string> arguments = {options.program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = EnvironmentOf(options);
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const Descriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  QD_ASSIGN_OR_RETURN(Pipe failure, Pipe::Make());

  const Prepared prepared = {.program = options.program.c_str(),
                             .arguments = argument_pointers.data(),
                             .environment = environment_pointers.data(),
                             .folder = options.folder.c_str(),
                             .limits = options.limits,
                             .null_descriptor = null.get(),
                             .stderr_descriptor = stderr_descriptor,
                             .events_descriptor = events_descriptor,
                             .failure_descriptor = failure.write.get(),
                             .parent = getpid()};
  const pid_t child = fork();
  if (child < 0) return ErrnoError("cannot start the runner", options.program, errno);
  if (child == 0) BecomeChild(prepared);

  failure.write.Close();
  fcntl(failure.read.get(), F_SETFL, 0);
  LaunchFailure what;
  ssize_t got = 0;
  do {
    got = read(failure.read.get(), &what, sizeof what);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof what)) return child;  // exec closed the pipe: it runs
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return MakeError(Reason::kRunnerCrashed, "the runner cannot be started",
                   Violation{.where = std::string(kSteps[static_cast<size_t>(what.step)]) + " " +
                                      (what.step == kFolder ? options.folder : options.program),
                             .got = std::strerror(what.error_number),
                             .wanted = "no error"});
}

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

int64_t OutOfMemoryKills() {
  const std::string cgroup = MemoryCgroup();
  int64_t kills = CounterIn("/proc/vmstat", "oom_kill");
  if (!cgroup.empty()) {
    kills += CounterIn(cgroup + "/memory.events", "oom_kill");
    kills += CounterIn(cgroup + "/memory.oom_control", "oom_kill");
  }
  return kills;
}

}  // namespace quantd
