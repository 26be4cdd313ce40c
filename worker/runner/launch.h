// fork and exec with limits; and how a process ended. The part of Child that knows the system
// calls.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/descriptor.h"
#include "worker/runner/child.h"

namespace quantd {

struct Pipe {
  Descriptor read, write;
  // Close-on-exec; the reading end does not block.
  static absl::StatusOr<Pipe> Make();
};

// Starts options.program; its stderr and events go to the writing ends. The process dies with the
// calling thread. Errors: RUNNER_CRASHED saying which step failed.
absl::StatusOr<pid_t> Launch(const ChildOptions& options, int stderr_descriptor,
                             int events_descriptor);

// "SIGSEGV", or "signal 42".
std::string SignalName(int number);

// How often the kernel has ended a process for lack of memory: of the machine and of our memory
// cgroup. A change while a child ran tells an out-of-memory kill from any other.
int64_t OutOfMemoryKills();

}  // namespace quantd
