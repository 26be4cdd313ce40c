// What a process gives up before it reads a stranger's model: all files but those of its task, the
// network, other processes. By Landlock (Linux 5.13, landlock(7)) and seccomp (seccomp(2)), which
// need no rights and cannot be taken back.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace quantd {

struct SandboxFolders {
  std::vector<std::string> readable;  // folders and files; those that are not there are skipped
  std::vector<std::string> writable;  // folders
};

// What this kernel cannot do of it, in words: "files (Landlock)", "system calls (seccomp)". Empty:
// everything.
std::vector<std::string> MissingForSandbox();

// Shuts the calling thread, and the threads that it makes later, in: files outside of the folders
// and of /proc and /sys (to read) cannot be opened, no socket can be made, no program run, no other
// process touched; such calls fail with EACCES and EPERM. What the kernel cannot do is left out.
// Descriptors that are open stay. IO_ERROR if the kernel refuses what it should be able to do. Call
// it while there is one thread.
absl::Status EnterSandbox(const SandboxFolders& folders);

}  // namespace quantd
