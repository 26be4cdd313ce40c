// The memory of one runner process: a limit that the kernel enforces, and an orderly end when it is
// reached.
#pragma once

#include <cstdint>

namespace quantd {

// The RLIMIT_DATA that lets a process use `memory_bytes` of working memory: adds what stacks,
// allocator arenas and library data take beside it with `threads` threads.
int64_t DataLimitFor(int64_t memory_bytes, int threads);

// Limits the private writable memory of this process. Safe between fork and exec. False if the
// kernel refused.
bool LimitData(int64_t data_bytes);

// From now on an allocation that fails, in any thread, writes an error event with
// RUNNER_MEMORY_LIMIT to `descriptor`
// (-1: a line for people to stderr) and ends the process with kExitNoMemory. Nothing is unwound:
// there is no memory to do it with, and half-written files have temporary names.
void ExitWhenOutOfMemory(int descriptor);

}  // namespace quantd
