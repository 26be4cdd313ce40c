#include "worker/agent_command.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <random>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/backend/kernels.h"
#include "worker/agent/agent.h"
#include "worker/agent/scratch.h"
#include "worker/agent/synchronizer.h"
#include "worker/runner/exit_codes.h"
#include "worker/runner/sandbox.h"

namespace quantd {
namespace {

struct Options {
  std::string server, name, backend = "any";
  std::string scratch = "/var/tmp/quantd-worker";
  std::string token_file;
  ChannelSecurity security;
  bool insecure = false;
  std::string log_format = "text", log_level = "info", sandbox = "auto";
  int threads = 0;
  int64_t memory_limit = 0;
  int64_t grace_seconds = 20;
};

std::string RandomHex() {
  std::random_device device;
  std::uniform_int_distribution<uint64_t> any;
  return fmt::format("{:016x}{:016x}", any(device), any(device));
}

// The host's name and a few random digits: unique, and still telling.
std::string DefaultName() {
  char host[256] = "worker";
  gethostname(host, sizeof host - 1);
  std::string name;
  for (const char c : std::string(host).substr(0, 40)) {
    const auto letter = static_cast<unsigned char>(c);
    name += std::isalnum(letter) != 0 ? static_cast<char>(std::tolower(letter)) : '-';
  }
  if (name.empty() || name.front() == '-') name = "worker" + name;
  return name + "-" + RandomHex().substr(0, 6);
}

int64_t MachineMemoryBytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// Everything that is wrong with the flags.
std::vector<Violation> Check(const Options& options, const std::vector<std::string>& backends) {
  std::vector<Violation> violations;
  const size_t colon = options.server.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == options.server.size()) {
    violations.push_back({.where = "--server", .got = options.server, .wanted = "HOST:PORT"});
  }
  if (!std::regex_match(options.name, std::regex("[a-z0-9][a-z0-9-]{0,62}"))) {
    violations.push_back({.where = "--name",
                          .got = options.name,
                          .wanted = "at most 63 of a-z, 0-9 and -, not beginning with -"});
  }
  if (backends.empty()) {
    violations.push_back({.where = "--backend",
                          .got = options.backend,
                          .wanted = "a backend that works here: see AvailableBackends"});
  }
  return violations;
}

std::vector<std::string> BackendsFor(const std::string& wanted) {
  std::vector<std::string> backends;
  for (const std::string_view name : AvailableBackends()) {
    if (wanted == "any" || wanted == name) backends.emplace_back(name);
  }
  return backends;
}

AgentOptions OptionsFor(const Options& options, const std::vector<std::string>& backends,
                        const std::string& scratch_folder) {
  AgentOptions agent;
  agent.worker = options.name;
  agent.session = RandomHex();
  agent.jitter_seed = std::random_device()();
  for (const std::string& name : backends) agent.capabilities.add_backends(name);
  agent.capabilities.set_threads(options.threads > 0 ? options.threads : AvailableCpus());
  agent.capabilities.set_memory_bytes(options.memory_limit > 0 ? options.memory_limit
                                                               : MachineMemoryBytes());
  agent.capabilities.set_engine_version(QUANTD_VERSION);
  agent.capabilities.set_isa(std::string(CpuKernels().isa));
  agent.shutdown_grace = absl::Seconds(options.grace_seconds);
  agent.resources = {.program = Child::OwnProgram(),
                     .scratch_folder = scratch_folder,
                     .threads = options.threads,
                     .memory_bytes = options.memory_limit,
                     // Leaves time to tell the server.
                     .cancel_grace = agent.shutdown_grace / 2,
                     .sandbox = options.sandbox != "off"};
  return agent;
}

// SIGINT and SIGTERM as calls of Agent::Shutdown, from a thread that may lock. The second signal
// ends the process; its runner dies with it.
class SignalThread {
 public:
  // Blocks the signals; threads made later inherit that. Make it before any other thread.
  SignalThread() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, kEnd}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
  }
  void Watch(Agent& agent) {
    thread_ = std::thread([this, &agent] { Wait(agent); });
  }
  ~SignalThread() {
    if (!thread_.joinable()) return;
    ended_ = true;
    pthread_kill(thread_.native_handle(), kEnd);
    thread_.join();
  }

 private:
  static constexpr int kEnd = SIGUSR1;

  void Wait(Agent& agent) {
    for (int came = 0; !ended_;) {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0 || signal == kEnd) continue;
      if (++came > 1) _exit(kExitInterrupted);
      spdlog::info("leaving");
      agent.Shutdown();
    }
  }

  sigset_t signals_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

class AgentCommand : public WorkerCommand {
 public:
  explicit AgentCommand(CLI::App& app)
      : command_(*app.add_subcommand("agent", "Work for a server (the default command)")) {
    AddAccessFlags();
    command_.add_option("--server", options_.server, "The server's HOST:PORT")
        ->envname("QUANTD_SERVER")
        ->required();
    command_
        .add_option("--name", options_.name,
                    "Name of this worker, unique at the server; default: host and random digits")
        ->envname("QUANTD_WORKER_NAME");
    command_
        .add_option("--scratch", options_.scratch,
                    "Folder for work in progress; on the file system of the server's blobs, "
                    "publishing a file is a rename")
        ->envname("QUANTD_WORKER_SCRATCH")
        ->capture_default_str();
    command_.add_option("--threads", options_.threads, "Threads of a task; 0: all CPUs")
        ->envname("QUANTD_WORKER_THREADS")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    command_
        .add_option("--memory-limit", options_.memory_limit,
                    "Most bytes of memory a task may use; 0: no limit")
        ->envname("QUANTD_WORKER_MEMORY_LIMIT")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command_.add_option("--backend", options_.backend, "cpu, cuda, or any")
        ->envname("QUANTD_WORKER_BACKEND")
        ->capture_default_str();
    command_
        .add_option("--grace", options_.grace_seconds, "Seconds to hand back a task after SIGTERM")
        ->envname("QUANTD_WORKER_GRACE")
        ->check(CLI::Range(1, 3600))
        ->capture_default_str();
    command_
        .add_option("--sandbox", options_.sandbox,
                    "Whether tasks give up the network and all files but their own: auto (as far "
                    "as this kernel can), require, or off")
        ->envname("QUANTD_WORKER_SANDBOX")
        ->check(CLI::IsMember({"auto", "require", "off"}))
        ->capture_default_str();
    command_.add_option("--log-format", options_.log_format, "text or json")
        ->envname("QUANTD_LOG_FORMAT")
        ->check(CLI::IsMember({"text", "json"}))
        ->capture_default_str();
    command_
        .add_option("--log-level", options_.log_level, "trace, debug, info, warning, error, off")
        ->envname("QUANTD_LOG_LEVEL")
        ->capture_default_str();
    command_.footer(
        "SIGTERM or Ctrl-C: takes no more work, hands back its task and leaves; twice: leaves at "
        "once.\nExit codes: 0 left; 1 failed; 2 bad usage or refused.");
  }

  void AddAccessFlags() {
    command_
        .add_option("--token-file", options_.token_file,
                    "File with the worker's token; read again when the server no longer knows it")
        ->envname("QUANTD_WORKER_TOKEN_FILE");
    command_
        .add_option("--tls-ca", options_.security.authority,
                    "TLS: certificates of the server's authority, or system")
        ->envname("QUANTD_WORKER_TLS_CA");
    command_
        .add_option("--tls-cert", options_.security.certificate,
                    "Certificate for a server that wants one")
        ->envname("QUANTD_WORKER_TLS_CERT");
    command_.add_option("--tls-key", options_.security.key, "Key of the certificate")
        ->envname("QUANTD_WORKER_TLS_KEY");
    command_
        .add_flag("--insecure", options_.insecure,
                  "Send the token in plain text to another machine")
        ->envname("QUANTD_WORKER_INSECURE");
  }

  bool chosen() const override { return command_.parsed(); }

  int Run() override {
    const LogOptions log = {
        .format = options_.log_format == "json" ? LogFormat::kJson : LogFormat::kText,
        .level = options_.log_level,
        .program = "quantd-worker"};
    if (const absl::Status status = SetUpLog(log); !status.ok()) return Refuse(status);
    if (options_.name.empty()) options_.name = DefaultName();
    const std::vector<std::string> backends = BackendsFor(options_.backend);
    if (auto violations = Check(options_, backends); !violations.empty()) {
      return Refuse(MakeError(Reason::kInvalidField, "refused", std::move(violations)));
    }
    if (const absl::Status status = CheckSandbox(); !status.ok()) return Refuse(status);
    SignalThread signals;
    const auto scratch = Scratch::Open(options_.scratch, options_.name);
    if (!scratch.ok()) return Refuse(scratch.status());

    if (options_.insecure) options_.security.plaintext = Plaintext::kAnywhere;
    const auto synchronizer =
        Synchronizer::Connect(options_.server, options_.security, options_.token_file);
    if (!synchronizer.ok()) return Refuse(synchronizer.status());
    Agent agent(OptionsFor(options_, backends, scratch->path()), **synchronizer);
    signals.Watch(agent);
    spdlog::info("worker {} for {}", options_.name, options_.server);
    while (agent.Run()) {
    }
    if (agent.exit_status().ok()) return kExitDone;
    spdlog::error("leaving: {}", std::string(agent.exit_status().message()));
    return kExitFailed;
  }

 private:
  absl::Status CheckSandbox() const {
    const std::vector<std::string> missing = MissingForSandbox();
    if (options_.sandbox == "off" || missing.empty()) return absl::OkStatus();
    if (options_.sandbox == "require") {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "--sandbox",
                                 .got = "a kernel without " + absl::StrJoin(missing, " and "),
                                 .wanted = "Linux 5.13 with Landlock and seccomp, or auto"});
    }
    spdlog::warn("this kernel cannot shut tasks in as they should be: no {}",
                 absl::StrJoin(missing, ", no "));
    return absl::OkStatus();
  }

  static int Refuse(const absl::Status& status) {
    fmt::print(stderr, "quantd-worker: {}: {}\n",
               RowOf(ReasonOf(status).value_or(Reason::kInternal)).name,
               std::string(status.message()));
    return kExitRefused;
  }

  CLI::App& command_;
  Options options_;
};

}  // namespace

std::unique_ptr<WorkerCommand> MakeAgentCommand(CLI::App& app) {
  return std::make_unique<AgentCommand>(app);
}

}  // namespace quantd
