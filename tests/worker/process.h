// Runs a program and keeps what it says, for tests.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace quantd {

struct ProcessOptions {
  std::vector<std::string> arguments;  // the program first
  int64_t max_file_bytes = 0;          // 0: no limit
  // When stderr contains `signal_at`, the signal is sent once.
  std::string signal_at = {};
  int signal = 0;
};

struct ProcessResult {
  int exit_code = -1;  // 128 + signal when killed
  std::string out, err;
};

namespace internal {

// Between fork and exec: nothing that allocates.
[[noreturn]] inline void Exec(char* const* arguments, int out, int err, int64_t max_file_bytes) {
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(out, 1);
  dup2(err, 2);
  if (max_file_bytes > 0) {
    const rlimit limit = {.rlim_cur = static_cast<rlim_t>(max_file_bytes),
                          .rlim_max = static_cast<rlim_t>(max_file_bytes)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(arguments[0], arguments);
  _exit(127);
}

}  // namespace internal

// Waits for its end, at most two minutes.
inline ProcessResult RunProcess(ProcessOptions options) {
  std::vector<char*> arguments;
  for (std::string& argument : options.arguments) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  int out[2], err[2];
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) internal::Exec(arguments.data(), out[1], err[1], options.max_file_bytes);
  close(out[1]);
  close(err[1]);

  ProcessResult result;
  bool signalled = options.signal_at.empty();
  std::array<pollfd, 2> waiting = {{{.fd = out[0], .events = POLLIN, .revents = 0},
                                    {.fd = err[0], .events = POLLIN, .revents = 0}}};
  const std::array<std::string*, 2> texts = {&result.out, &result.err};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (waiting[0].fd >= 0 || waiting[1].fd >= 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "does not end";
      kill(child, SIGKILL);
    }
    poll(waiting.data(), waiting.size(), 1000);
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].fd < 0 || waiting[i].revents == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t got = read(waiting[i].fd, buffer.data(), buffer.size());
      if (got > 0) texts[i]->append(buffer.data(), static_cast<size_t>(got));
      if (got <= 0) waiting[i].fd = -1;
    }
    if (!signalled && result.err.find(options.signal_at) != std::string::npos) {
      signalled = true;
      kill(child, options.signal);
    }
  }
  close(out[0]);
  close(err[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  EXPECT_TRUE(signalled) << "the program never said " << options.signal_at;
  return result;
}

}  // namespace quantd
