// spdlog, set up once per process: text for people, JSON lines for machines. Logs go to stderr;
// stdout is for results.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace quantd {

enum class LogFormat { kText, kJson };

struct LogOptions {
  LogFormat format = LogFormat::kText;
  std::string_view level = "info";  // trace, debug, info, warning, error, off
  std::string_view program = "quantd";
};

// INVALID_FIELD for an unknown level. Call once from main.
absl::Status SetUpLog(const LogOptions& options);

}  // namespace quantd
