// The settings of the server: flags, environment and a YAML file, in one table (config.cc). Flag
// wins over environment, environment over file, file over default. docs/operations.md lists them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "server/access/access_control.h"
#include "server/limits.h"

namespace quantd {

struct Config {
  std::string listen = "127.0.0.1:8470";
  std::string metrics = "127.0.0.1:8471";
  std::string data = "quantd-data";
  std::string store = "sqlite";
  std::string blobs = {};  // empty: in data
  int local_workers = 0;
  std::vector<std::string> model_roots;
  LogFormat log_format = LogFormat::kText;
  std::string log_level = "info";
  bool insecure = false;  // plaintext on an address that is not loopback
  std::string tls_cert = {}, tls_key = {}, tls_client_ca = {};  // PEM files; empty: none
  bool require_tokens = false;
  bool no_result_cache = false;
  std::vector<std::string> webhook_hosts = {};  // WebhookHosts::Parse takes them
  std::string webhook_secret_file = {};
  absl::Duration grace = absl::Seconds(10);
  Limits limits;
};

// One setting as it was decided, for --print-config.
struct ConfigValue {
  std::string key;  // "local-workers"
  std::string value;
  std::string source;  // "default", "file F", "environment QUANTD_LOCAL_WORKERS", "flag"
};

struct LoadedConfig {
  Config config;
  std::vector<ConfigValue> values;  // every setting, in the order of the table
};

// What the command line said: values of flags by key ("listen"), and the file to read ("" for
// none).
struct ConfigSources {
  std::map<std::string, std::vector<std::string>> flags = {};
  std::map<std::string, std::string> environment = {};  // names with QUANTD_
  std::string file = {};
};

// A setting for --help.
struct ConfigHelp {
  std::string key;
  std::string value_name;  // "HOST:PORT"; empty: a switch
  std::string help;
  std::string fallback;
};
std::vector<ConfigHelp> ConfigTable();

// Decides every setting. INVALID_FIELD or UNKNOWN_FIELD with all problems of all sources at once:
// bad values, keys of the file and QUANTD_ names of the environment that do not exist, a public
// address without --insecure.
absl::StatusOr<LoadedConfig> LoadConfig(const ConfigSources& sources);

// Whether callers need a token from the start: when it was asked for, and at an address that others
// can reach over TLS without a certificate of their own. Otherwise as soon as there is a token.
TokenRule TokensFor(const Config& config);

// "key = value  # source" per line.
std::string PrintConfig(const LoadedConfig& loaded);

}  // namespace quantd
