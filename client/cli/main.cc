// quantctl: the client of quantd for people and scripts.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "client/cancellation.h"
#include "client/cli/command_line.h"

namespace {

// Waits for SIGINT in a thread of its own, where anything may be called: the first one stops the
// calls in flight, so that the command can say how to return to its job; the second ends the
// program at once.
void CatchInterrupts(quantd::Cancellation& cancellation) {
  static sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  // Before any other thread exists: they inherit the mask.
  pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  std::thread([&cancellation] {
    int signal = 0;
    sigwait(&interrupt, &signal);
    cancellation.Cancel();
    sigwait(&interrupt, &signal);
    _exit(static_cast<int>(quantd::ExitCode::kInterrupted));
  }).detach();
}

}  // namespace

int main(int argc, char** argv) {
  // The thread that catches interrupts may outlive main.
  auto& cancellation = *new quantd::Cancellation();
  CatchInterrupts(cancellation);
  const quantd::Streams streams = {.out = std::cout,
                                   .err = std::cerr,
                                   .err_descriptor = STDERR_FILENO,
                                   .out_descriptor = STDOUT_FILENO};
  quantd::CommandLine command_line;
  const quantd::ExitCode code =
      command_line.Run(std::vector<std::string>(argv + 1, argv + argc), streams, cancellation);
  std::cout.flush();
  return static_cast<int>(code);
}
