// quantd: the server program. Reads its settings, starts the server and local workers, waits for a
// signal.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "base/secret_file.h"
#include "server/api/server.h"
#include "server/config.h"
#include "server/id.h"
#include "server/local_workers.h"
#include "server/tokens_command.h"

extern char** environ;

namespace quantd {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitFailed = 1;

std::map<std::string, std::string> QuantdEnvironment() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (text.starts_with("QUANTD_") && equals != std::string_view::npos) {
      found[std::string(text.substr(0, equals))] = std::string(text.substr(equals + 1));
    }
  }
  return found;
}

int Complain(const absl::Status& status) {
  std::fprintf(stderr, "quantd: %s\n", std::string(status.message()).c_str());
  const bool usage = status.code() == absl::StatusCode::kInvalidArgument;
  return usage ? kExitUsage : kExitFailed;
}

// Blocks the signals that end the server, so that every thread made later leaves them to
// WaitForSignal.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// A second signal ends the program at once, whatever it waits for.
void LetSecondSignalKill(const sigset_t& signals) {
  struct sigaction action{};
  action.sa_handler = [](int) { _exit(130); };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

// Starts local workers, if there are to be any. They get their token in a file: arguments and
// environment of a process can be read by others.
absl::StatusOr<std::unique_ptr<LocalWorkers>> StartWorkers(const Config& config,
                                                           const Server& server) {
  if (config.local_workers == 0) return nullptr;
  const std::string token_file = config.data + "/local-workers.token";
  QD_RETURN_IF_ERROR(WriteSecretFile(token_file, server.LocalWorkerSecret() + "\n"));
  // Of several servers, each time they are started, others: a name that comes back ends the leases
  // of who had it.
  const bool shared = config.store != "sqlite";
  return LocalWorkers::Start({.count = config.local_workers,
                              .name = shared ? "local-" + NewId().substr(0, 6) : "local",
                              .server = server.LocalAddress(),
                              .token_file = token_file,
                              .scratch = config.data + "/scratch",
                              .log_format = config.log_format == LogFormat::kJson ? "json" : "text",
                              .log_level = config.log_level});
}

absl::Status AddWebhooks(const Config& config, ServerOptions& options) {
  if (config.webhook_hosts.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(options.webhook_hosts, WebhookHosts::Parse(config.webhook_hosts));
  QD_ASSIGN_OR_RETURN(options.webhook_secret,
                      ReadSecretFile("webhook-secret-file", config.webhook_secret_file));
  return CheckPrivate(config.webhook_secret_file);
}

int Serve(const Config& config, const sigset_t& signals) {
  ServerOptions options{.listen = config.listen,
                        .metrics = config.metrics,
                        .data = config.data,
                        .store = config.store,
                        .blobs = config.blobs,
                        .model_roots = config.model_roots,
                        .limits = config.limits,
                        .result_cache = !config.no_result_cache,
                        .tokens = TokensFor(config),
                        .tls = {.certificate = config.tls_cert,
                                .key = config.tls_key,
                                .client_authority = config.tls_client_ca}};
  if (const absl::Status status = AddWebhooks(config, options); !status.ok()) {
    return Complain(status);
  }
  auto server = Server::Start(options);
  if (!server.ok()) return Complain(server.status());
  const std::string address =
      absl::StrCat(config.listen.substr(0, config.listen.rfind(':')), ":", (*server)->grpc_port());
  spdlog::info("quantd {} serves gRPC on {} and metrics on port {}", QUANTD_VERSION, address,
               (*server)->metrics_port());
  const auto workers = StartWorkers(config, **server);
  if (!workers.ok()) return Complain(workers.status());
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  spdlog::info("shutting down on {}", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
  LetSecondSignalKill(signals);
  // Workers first: they hand their tasks back while the server still answers.
  if (*workers != nullptr) (*workers)->Stop(config.grace);
  (*server)->Shutdown(config.grace);
  spdlog::info("good bye");
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("quantd: quantization as a service");
  app.set_version_flag("--version", "quantd " QUANTD_VERSION);
  ConfigSources sources{.flags = {}, .environment = QuantdEnvironment(), .file = ""};
  bool print_config = false;
  app.add_option("--config", sources.file, "YAML file with the settings below as keys")
      ->envname("QUANTD_CONFIG");
  app.add_flag("--print-config", print_config, "show every setting and where it came from");
  std::map<std::string, std::vector<std::string>> values;
  std::map<std::string, bool> switches;
  for (const ConfigHelp& row : ConfigTable()) {
    const std::string help =
        row.fallback.empty() ? row.help : absl::StrCat(row.help, " [", row.fallback, "]");
    if (row.value_name.empty()) {
      app.add_flag("--" + row.key, switches[row.key], help);
    } else {
      app.add_option("--" + row.key, values[row.key], help)
          ->type_name(row.value_name)
          ->allow_extra_args(false);
    }
  }
  const std::unique_ptr<TokensCommand> tokens = MakeTokensCommand(app);
  CLI11_PARSE(app, argc, argv);
  if (tokens->chosen()) return tokens->Run();
  for (const auto& [key, given] : values) {
    if (!given.empty()) sources.flags[key] = given;
  }
  for (const auto& [key, on] : switches) {
    if (on) sources.flags[key] = {"true"};
  }
  const auto loaded = LoadConfig(sources);
  if (!loaded.ok()) return Complain(loaded.status());
  if (print_config) {
    std::fputs(PrintConfig(*loaded).c_str(), stdout);
    return 0;
  }
  const Config& config = loaded->config;
  const absl::Status logging =
      SetUpLog({.format = config.log_format, .level = config.log_level, .program = "quantd"});
  if (!logging.ok()) return Complain(logging);
  return Serve(config, BlockSignals());
}

}  // namespace
}  // namespace quantd

int main(int argc, char** argv) { return quantd::Main(argc, argv); }
