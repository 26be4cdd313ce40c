// How `quantd-worker quantize` ends, for scripts and for the agent. Part of the command's contract.
#pragma once

namespace quantd {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;   // the work failed
inline constexpr int kExitRefused = 2;  // bad usage, or a request that cannot be done
inline constexpr int kExitGateMissed =
    4;                                   // done, but the result misses the gate that was asked for
inline constexpr int kExitNoMemory = 5;  // an allocation failed: the limit, or the machine's end
inline constexpr int kExitInterrupted = 130;

}  // namespace quantd
