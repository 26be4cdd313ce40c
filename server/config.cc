#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/address.h"
#include "base/error.h"
#include "base/files.h"
#include "server/store/open_store.h"
#include "server/webhooks/hosts.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kPrefix = "QUANTD_";
// Names of the environment that other programs of quantd and its tests read.
constexpr std::string_view kForeign[] = {"QUANTD_SERVER", "QUANTD_TOKEN",      "QUANTD_TOKEN_FILE",
                                         "QUANTD_CONFIG", "QUANTD_CPU_ISA",    "QUANTD_BUILD",
                                         "QUANTD_BIN",    "QUANTD_SHARED_DATA"};
constexpr std::string_view kOfWorkers = "QUANTD_WORKER_", kOfClients = "QUANTD_CLIENT_";

bool IsForeign(std::string_view name) {
  return name.starts_with(kOfWorkers) || name.starts_with(kOfClients) ||
         std::find(std::begin(kForeign), std::end(kForeign), name) != std::end(kForeign);
}

// A setting: how it is written, how a text becomes its value ("" if that went well, else what is
// wanted), how its value is shown.
struct Row {
  std::string key;
  std::string value_name;
  std::string help;
  std::function<std::string(Config&, const std::vector<std::string>&)> set;
  std::function<std::string(const Config&)> show;
};

std::string One(const std::vector<std::string>& values) {
  return values.empty() ? "" : values.back();
}

Row TextRow(std::string key, std::string value_name, std::string help, std::string Config::* field,
            std::function<std::string(const std::string&)> check) {
  return {.key = std::move(key),
          .value_name = std::move(value_name),
          .help = std::move(help),
          .set =
              [field, check](Config& config, const std::vector<std::string>& values) {
                config.*field = One(values);
                return check(config.*field);
              },
          .show = [field](const Config& config) { return config.*field; }};
}

// A number of the limits or of the config itself, reached by `at`.
template <typename Integer>
Row IntegerRow(std::string key, std::string help, Integer& (*at)(Config&), int64_t low,
               int64_t high) {
  return {.key = std::move(key),
          .value_name = "N",
          .help = std::move(help),
          .set =
              [at, low, high](Config& config, const std::vector<std::string>& values) {
                int64_t value = 0;
                if (!absl::SimpleAtoi(One(values), &value) || value < low || value > high) {
                  return absl::StrCat("a whole number from ", low, " to ", high);
                }
                at(config) = static_cast<Integer>(value);
                return std::string();
              },
          .show =
              [at](const Config& config) {
                Config copy = config;
                return absl::StrCat(at(copy));
              }};
}

Row DurationRow(std::string key, std::string help, absl::Duration& (*at)(Config&),
                absl::Duration low, absl::Duration high) {
  return {.key = std::move(key),
          .value_name = "TIME",
          .help = std::move(help),
          .set =
              [at, low, high](Config& config, const std::vector<std::string>& values) {
                absl::Duration value;
                if (!absl::ParseDuration(One(values), &value) || value < low || value > high) {
                  return absl::StrCat("a time like 30s or 2h, from ", absl::FormatDuration(low),
                                      " to ", absl::FormatDuration(high));
                }
                at(config) = value;
                return std::string();
              },
          .show =
              [at](const Config& config) {
                Config copy = config;
                return absl::FormatDuration(at(copy));
              }};
}

std::string CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = -1;
  const bool good = colon != std::string::npos && colon > 0 &&
                    absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= 0 &&
                    port <= 65535;
  return good ? "" : "HOST:PORT, port 0 to 65535";
}

std::string CheckStore(const std::string& uri) {
  return IsStoreUri(uri) ? ""
                         : "sqlite, or postgresql://USER@HOST/DATABASE, the password in PGPASSWORD "
                           "or PGPASSFILE";
}

std::string CheckBlobs(const std::string& uri) {
  return uri.starts_with("file:///") || uri.starts_with("s3://")
             ? ""
             : "file:///absolute/folder or s3://bucket/prefix";
}

std::string CheckNotEmpty(const std::string& text) { return text.empty() ? "a path" : ""; }

Row ModelRootRow() {
  return {.key = "model-root",
          .value_name = "DIR",
          .help = "a folder that requests may name, with all below it; may be repeated",
          .set =
              [](Config& config, const std::vector<std::string>& values) {
                config.model_roots = values;
                const bool bad = std::any_of(values.begin(), values.end(),
                                             [](const auto& path) { return path.empty(); });
                return std::string(bad ? "a folder" : "");
              },
          .show = [](const Config& config) { return absl::StrJoin(config.model_roots, ":"); }};
}

// Keys that may be given several times: as flags, as a list in the file, and in the environment
// with the separator between.
char SeparatorOf(std::string_view key) {
  if (key == "model-root") return ':';
  return key == "webhook-host" ? ',' : '\0';
}

std::vector<Row> WebhookRows() {
  return {
      {.key = "webhook-host",
       .value_name = "HOST",
       .help = "a host that webhooks may call, [internal:][http://]HOST[:PORT]; may be repeated; "
               "none: webhooks are off",
       .set =
           [](Config& config, const std::vector<std::string>& values) {
             config.webhook_hosts = values;
             const absl::Status status = WebhookHosts::Parse(values).status();
             return status.ok() ? std::string() : ViolationsOf(status).at(0).wanted;
           },
       .show = [](const Config& config) { return absl::StrJoin(config.webhook_hosts, ","); }},
      TextRow("webhook-secret-file", "FILE", "what webhook deliveries are signed with",
              &Config::webhook_secret_file, CheckNotEmpty),
      DurationRow(
          "webhook-retry-delay", "wait after a failed try of a delivery, doubled for each more",
          +[](Config& config) -> absl::Duration& { return config.limits.webhook_retry_delay; },
          absl::Milliseconds(1), absl::Hours(1)),
  };
}

Row LogFormatRow() {
  return {.key = "log-format",
          .value_name = "text|json",
          .help = "how the log on stderr is written",
          .set =
              [](Config& config, const std::vector<std::string>& values) {
                const std::string value = One(values);
                config.log_format = value == "json" ? LogFormat::kJson : LogFormat::kText;
                return std::string(value == "json" || value == "text" ? "" : "text or json");
              },
          .show =
              [](const Config& config) {
                return std::string(config.log_format == LogFormat::kJson ? "json" : "text");
              }};
}

Row SwitchRow(std::string key, std::string help, bool Config::* field) {
  return {.key = std::move(key),
          .value_name = "",
          .help = std::move(help),
          .set =
              [field](Config& config, const std::vector<std::string>& values) {
                const std::string value = One(values);
                config.*field = value == "true" || value == "1";
                const bool known = config.*field || value == "false" || value == "0";
                return std::string(known ? "" : "true or false");
              },
          .show = [field](const Config& config) { return config.*field ? "true" : "false"; }};
}

std::vector<Row> AccessRows() {
  return {
      SwitchRow("insecure", "allow plaintext on an address that is not loopback",
                &Config::insecure),
      TextRow("tls-cert", "FILE", "serve gRPC over TLS with this certificate chain (PEM)",
              &Config::tls_cert, CheckNotEmpty),
      TextRow("tls-key", "FILE", "the key of tls-cert (PEM)", &Config::tls_key, CheckNotEmpty),
      TextRow("tls-client-ca", "FILE", "admit only clients with a certificate of these (PEM)",
              &Config::tls_client_ca, CheckNotEmpty),
      SwitchRow("require-tokens", "refuse calls without a token even while there is none",
                &Config::require_tokens),
  };
}

std::string CheckLogLevel(const std::string& level) {
  static const std::set<std::string> kLevels = {"trace",   "debug", "info",
                                                "warning", "error", "off"};
  return kLevels.contains(level) ? "" : absl::StrJoin(kLevels, ", ");
}

std::vector<Row> LimitRows() {
  constexpr int64_t kMany = 1'000'000;
  return {
      IntegerRow<int64_t>(
          "queue-length", "jobs that may wait",
          +[](Config& config) -> int64_t& { return config.limits.queue_length; }, 1, 10 * kMany),
      IntegerRow<int64_t>(
          "open-jobs", "jobs that may be open",
          +[](Config& config) -> int64_t& { return config.limits.open_jobs; }, 1, 10 * kMany),
      IntegerRow<int>(
          "max-attempts", "attempts without progress before a job fails for good",
          +[](Config& config) -> int& { return config.limits.max_attempts; }, 1, 100),
      DurationRow(
          "retry-delay", "wait after a failed attempt, doubled for each without progress",
          +[](Config& config) -> absl::Duration& { return config.limits.retry_delay; },
          absl::ZeroDuration(), absl::Hours(1)),
      DurationRow(
          "stall-time", "without progress for so long, or longer by the plan, a worker is stuck",
          +[](Config& config) -> absl::Duration& { return config.limits.stall_time; },
          absl::Seconds(1), absl::Hours(24)),
      IntegerRow<int64_t>(
          "tenant-queue", "jobs of one tenant that may wait",
          +[](Config& config) -> int64_t& { return config.limits.tenant_queue; }, 1, 10 * kMany),
      IntegerRow<int64_t>(
          "tenant-running", "tasks of one tenant that may run at a time",
          +[](Config& config) -> int64_t& { return config.limits.tenant_running; }, 1, 10 * kMany),
      DurationRow(
          "retention", "jobs are removed with their files so long after their end",
          +[](Config& config) -> absl::Duration& { return config.limits.retention; },
          absl::Seconds(1), absl::InfiniteDuration()),
      SwitchRow("no-result-cache",
                "make a job of every request, also of one that an earlier job has the result of",
                &Config::no_result_cache),
      IntegerRow<int64_t>(
          "upload-bytes", "bytes that the models and datasets of a tenant may take",
          +[](Config& config) -> int64_t& { return config.limits.upload_bytes; }, 0,
          int64_t{1} << 50),
      DurationRow(
          "upload-expiry", "an upload that is not finished is removed so long after its last byte",
          +[](Config& config) -> absl::Duration& { return config.limits.upload_expiry; },
          absl::Seconds(1), absl::InfiniteDuration()),
      IntegerRow<int>(
          "streams", "WatchJob, ReadArtifactFile and WriteUploadFile calls open at a time",
          +[](Config& config) -> int& { return config.limits.streams; }, 1, 100'000),
      DurationRow(
          "max-run-time", "longest run of one attempt",
          +[](Config& config) -> absl::Duration& { return config.limits.max_run_time; },
          absl::Seconds(1), absl::Hours(24 * 365)),
      DurationRow(
          "lease", "silence after which a worker counts as lost",
          +[](Config& config) -> absl::Duration& { return config.limits.lease; }, absl::Seconds(1),
          absl::Hours(1)),
      DurationRow(
          "grace", "time that calls under way get at shutdown",
          +[](Config& config) -> absl::Duration& { return config.grace; }, absl::ZeroDuration(),
          absl::Hours(1)),
  };
}

const std::vector<Row>& Table() {
  static const std::vector<Row> kTable = [] {
    std::vector<Row> rows = {
        TextRow("listen", "HOST:PORT", "where to serve gRPC; port 0 takes a free one",
                &Config::listen, CheckAddress),
        TextRow("metrics", "HOST:PORT", "where to serve Prometheus metrics", &Config::metrics,
                CheckAddress),
        TextRow("data", "DIR", "folder for the database and the artifacts", &Config::data,
                CheckNotEmpty),
        TextRow("store", "URI",
                "where jobs are kept: sqlite (in data), or postgresql://USER@HOST/DATABASE, which "
                "several servers may share",
                &Config::store, CheckStore),
        TextRow("blobs", "URI",
                "where the files of jobs are kept, for servers and workers: file:///DIR, or "
                "s3://BUCKET/PREFIX?endpoint=URL&region=REGION; default: in data",
                &Config::blobs, CheckBlobs),
        IntegerRow<int>(
            "local-workers", "worker processes to start and supervise",
            +[](Config& config) -> int& { return config.local_workers; }, 0, 256),
        ModelRootRow(),
        LogFormatRow(),
        TextRow("log-level", "LEVEL", "least severe message to log", &Config::log_level,
                CheckLogLevel),
    };
    for (Row& row : AccessRows()) rows.push_back(std::move(row));
    for (Row& row : WebhookRows()) rows.push_back(std::move(row));
    for (Row& row : LimitRows()) rows.push_back(std::move(row));
    return rows;
  }();
  return kTable;
}

const Row* FindRow(std::string_view key) {
  for (const Row& row : Table()) {
    if (row.key == key) return &row;
  }
  return nullptr;
}

std::string EnvironmentName(std::string_view key) {
  return absl::StrCat(ToAbsl(kPrefix),
                      absl::AsciiStrToUpper(absl::StrReplaceAll(ToAbsl(key), {{"-", "_"}})));
}

std::string KnownKeys() {
  std::vector<std::string> keys;
  for (const Row& row : Table()) keys.push_back(row.key);
  return "one of " + absl::StrJoin(keys, ", ");
}

using Values = std::map<std::string, std::vector<std::string>>;

absl::StatusOr<Values> ReadYaml(const std::string& path, std::vector<Violation>& violations) {
  QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  Values values;
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return values;
    if (!root.IsMap()) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = path, .got = "no map", .wanted = "key: value lines"});
    }
    for (const auto& entry : root) {
      const std::string key = entry.first.Scalar();
      if (FindRow(key) == nullptr) {
        violations.push_back({.where = path, .got = "key " + key, .wanted = KnownKeys()});
      } else if (entry.second.IsScalar()) {
        values[key] = {entry.second.Scalar()};
      } else if (entry.second.IsSequence() && SeparatorOf(key) != '\0') {
        for (const YAML::Node& item : entry.second) values[key].push_back(item.as<std::string>());
      } else {
        violations.push_back({.where = path + ": " + key, .got = "a structure", .wanted = "text"});
      }
    }
  } catch (const std::exception& error) {
    return MakeError(Reason::kInvalidField, "not valid YAML",
                     Violation{.where = path, .got = error.what(), .wanted = "YAML"});
  }
  return values;
}

Values ReadEnvironment(const ConfigSources& sources, std::vector<Violation>& violations) {
  Values values;
  for (const auto& [name, value] : sources.environment) {
    if (IsForeign(name)) continue;
    const Row* found = nullptr;
    for (const Row& row : Table()) {
      if (EnvironmentName(row.key) == name) found = &row;
    }
    if (found == nullptr) {
      violations.push_back({.where = "environment",
                            .got = name,
                            .wanted = EnvironmentName("KEY, KEY ") + KnownKeys()});
      continue;
    }
    values[found->key] = {value};
    if (const char separator = SeparatorOf(found->key); separator != '\0') {
      values[found->key] = absl::StrSplit(value, separator, absl::SkipEmpty());
    }
  }
  return values;
}

void CheckTransport(const Config& config, std::vector<Violation>& violations) {
  const bool tls = !config.tls_cert.empty();
  if (tls == config.tls_key.empty()) {
    violations.push_back({.where = tls ? "tls-key" : "tls-cert",
                          .got = "nothing",
                          .wanted = "tls-cert and tls-key together"});
  }
  if (!tls && !config.tls_client_ca.empty()) {
    violations.push_back(
        {.where = "tls-client-ca", .got = "no TLS", .wanted = "tls-cert and tls-key with it"});
  }
  const auto check = [&](const char* key, const std::string& address, const char* wanted) {
    if (config.insecure || IsThisMachine(address)) return;
    violations.push_back({.where = key,
                          .got = address + ", which others can reach, without encryption",
                          .wanted = wanted});
  };
  if (!tls) {
    check("listen", config.listen,
          "127.0.0.1, tls-cert and tls-key, or --insecure if that is what you want");
  }
  check("metrics", config.metrics, "127.0.0.1, or --insecure if that is what you want");
}

}  // namespace

TokenRule TokensFor(const Config& config) {
  const bool for_strangers =
      !config.tls_cert.empty() && config.tls_client_ca.empty() && !IsThisMachine(config.listen);
  return config.require_tokens || for_strangers ? TokenRule::kAlways : TokenRule::kOnceThereAreAny;
}

std::vector<ConfigHelp> ConfigTable() {
  std::vector<ConfigHelp> table;
  for (const Row& row : Table()) {
    table.push_back({.key = row.key,
                     .value_name = row.value_name,
                     .help = row.help,
                     .fallback = row.show(Config{})});
  }
  return table;
}

absl::StatusOr<LoadedConfig> LoadConfig(const ConfigSources& sources) {
  std::vector<Violation> violations;
  Values file;
  if (!sources.file.empty()) {
    QD_ASSIGN_OR_RETURN(file, ReadYaml(sources.file, violations));
  }
  const Values environment = ReadEnvironment(sources, violations);
  LoadedConfig loaded;
  for (const Row& row : Table()) {
    std::string source = "default";
    const std::vector<std::string>* values = nullptr;
    if (const auto it = file.find(row.key); it != file.end()) {
      source = "file " + sources.file;
      values = &it->second;
    }
    if (const auto it = environment.find(row.key); it != environment.end()) {
      source = "environment " + EnvironmentName(row.key);
      values = &it->second;
    }
    if (const auto it = sources.flags.find(row.key); it != sources.flags.end()) {
      source = "flag --" + row.key;
      values = &it->second;
    }
    if (values != nullptr) {
      const std::string wanted = row.set(loaded.config, *values);
      if (!wanted.empty()) {
        violations.push_back(
            {.where = source == "flag --" + row.key ? source : source + ": " + row.key,
             .got = '"' + absl::StrJoin(*values, ", ") + '"',
             .wanted = wanted});
      }
    }
    loaded.values.push_back(
        {.key = row.key, .value = row.show(loaded.config), .source = std::move(source)});
  }
  CheckTransport(loaded.config, violations);
  if (loaded.config.webhook_hosts.empty() != loaded.config.webhook_secret_file.empty()) {
    const bool secret = loaded.config.webhook_secret_file.empty();
    violations.push_back({.where = secret ? "webhook-secret-file" : "webhook-host",
                          .got = "nothing",
                          .wanted = "webhook-host and webhook-secret-file together"});
  }
  if (!violations.empty()) {
    return MakeError(Reason::kInvalidField, "bad configuration", std::move(violations));
  }
  return loaded;
}

std::string PrintConfig(const LoadedConfig& loaded) {
  std::string text;
  for (const ConfigValue& value : loaded.values) {
    absl::StrAppend(&text, value.key, " = ", value.value, "  # ", value.source, "\n");
  }
  return text;
}

}  // namespace quantd
