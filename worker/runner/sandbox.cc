#include "worker/runner/sandbox.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "base/descriptor.h"
#include "base/error.h"

namespace quantd {
namespace {

// Read by path, but not on the disk: the process itself, and the machine's CPUs.
constexpr const char* kAlwaysReadable[] = {"/proc", "/sys"};

// Rights of later kernels than the headers may be of (landlock(7), "Landlock ABI versions").
constexpr uint64_t kRefer = uint64_t{1} << 13;     // version 2
constexpr uint64_t kTruncate = uint64_t{1} << 14;  // version 3

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kOnFiles = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                              LANDLOCK_ACCESS_FS_READ_FILE | kTruncate;
// All that version 1 knows.
constexpr uint64_t kFirstRights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
constexpr uint64_t kNoDevices = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                                LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                LANDLOCK_ACCESS_FS_EXECUTE;

// 0: the kernel has none.
long LandlockVersion() {
  const long version =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? version : 0;
}

bool HasSeccomp() {
  uint32_t action = SECCOMP_RET_ERRNO;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

uint64_t RightsOf(long version) {
  return kFirstRights | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
}

absl::Status Allow(int ruleset, const std::string& path, uint64_t rights) {
  const Descriptor place(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (place.get() < 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError("cannot open", path, errno);
  }
  struct stat status{};
  if (fstat(place.get(), &status) != 0) return ErrnoError("cannot look at", path, errno);
  if (!S_ISDIR(status.st_mode)) rights &= kOnFiles;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = rights;
  rule.parent_fd = place.get();
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return ErrnoError("cannot allow", path, errno);
  }
  return absl::OkStatus();
}

absl::Status ShutFiles(const SandboxFolders& folders) {
  const uint64_t rights = RightsOf(LandlockVersion());
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = rights;
  const Descriptor ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (ruleset.get() < 0) return ErrnoError("cannot make", "a Landlock ruleset", errno);
  for (const char* path : kAlwaysReadable) {
    QD_RETURN_IF_ERROR(Allow(ruleset.get(), path, kRead));
  }
  for (const std::string& path : folders.readable) {
    QD_RETURN_IF_ERROR(Allow(ruleset.get(), path, kRead));
  }
  for (const std::string& path : folders.writable) {
    QD_RETURN_IF_ERROR(Allow(ruleset.get(), path, rights & ~kNoDevices));
  }
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return ErrnoError("cannot enter", "a Landlock ruleset", errno);
  }
  return absl::OkStatus();
}

#if defined(__x86_64__)
constexpr uint32_t kMachine = AUDIT_ARCH_X86_64;
// Calls of the x32 convention have other numbers.
constexpr uint32_t kFirstForeignCall = 0x40000000;
#elif defined(__aarch64__)
constexpr uint32_t kMachine = AUDIT_ARCH_AARCH64;
constexpr uint32_t kFirstForeignCall = UINT32_MAX;
#else
#error "the seccomp filter does not know this machine"
#endif

constexpr uint32_t kRefused[] = {
    // The network, and other ways out of the process.
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept4, SYS_execve,
    SYS_execveat,
// Other processes. The leak sanitizer looks at its own by ptrace.
#if !defined(QUANTD_SANITIZED)
    SYS_ptrace,
#endif
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_kill, SYS_rt_sigqueueinfo, SYS_pidfd_open,
    SYS_pidfd_getfd, SYS_pidfd_send_signal, SYS_setns, SYS_unshare,
    // What a quantization never needs of the kernel, and its faults have often been in.
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_keyctl, SYS_add_key, SYS_request_key,
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter,
    SYS_init_module, SYS_finit_module, SYS_kexec_load, SYS_open_by_handle_at};

absl::Status ShutSystemCalls() {
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kMachine, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstForeignCall, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  for (const uint32_t call : kRefused) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program = {.len = static_cast<unsigned short>(filter.size()),
                              .filter = filter.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
    return ErrnoError("cannot enter", "a seccomp filter", errno);
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> MissingForSandbox() {
  std::vector<std::string> missing;
  if (LandlockVersion() == 0) missing.emplace_back("files (Landlock)");
  if (!HasSeccomp()) missing.emplace_back("system calls (seccomp)");
  return missing;
}

absl::Status EnterSandbox(const SandboxFolders& folders) {
  // Both ask for it: nothing that is run later may win rights.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoError("cannot enter", "the sandbox", errno);
  }
  if (LandlockVersion() > 0) QD_RETURN_IF_ERROR(ShutFiles(folders));
  return HasSeccomp() ? ShutSystemCalls() : absl::OkStatus();
}

}  // namespace quantd
