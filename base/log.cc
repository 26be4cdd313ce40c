#include "base/log.h"

#include <chrono>
#include <ctime>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "fmt/chrono.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace quantd {
namespace {

// One JSON object a line. spdlog's pattern cannot escape the message, so the line is made here.
class JsonFormatter : public spdlog::formatter {
 public:
  explicit JsonFormatter(std::string program) : program_(std::move(program)) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto since_epoch = message.time.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
    const auto micros =
        std::chrono::duration_cast<std::chrono::microseconds>(since_epoch - seconds);
    const std::string time =
        fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                    fmt::gmtime(static_cast<std::time_t>(seconds.count())), micros.count());
    const auto level = spdlog::level::to_string_view(message.level);
    const Json line = {{"time", time},
                       {"level", std::string(level.data(), level.size())},
                       {"program", program_},
                       {"message", std::string(message.payload.data(), message.payload.size())}};
    const std::string text = DumpJson(line) + "\n";
    out.append(text.data(), text.data() + text.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(program_);
  }

 private:
  std::string program_;
};

}  // namespace

absl::Status SetUpLog(const LogOptions& options) {
  const std::string level_name(options.level);
  const auto level = spdlog::level::from_str(level_name);
  if (level == spdlog::level::off && level_name != "off") {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "log_level",
                               .got = level_name,
                               .wanted = "trace, debug, info, warning, error or off"});
  }
  const std::string program(options.program);
  auto logger = spdlog::stderr_color_mt(program);
  if (options.format == LogFormat::kJson) {
    logger->set_formatter(std::make_unique<JsonFormatter>(program));
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-5l%$ %v");
  }
  logger->set_level(level);
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

}  // namespace quantd
