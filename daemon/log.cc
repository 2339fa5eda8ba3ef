#include "daemon/log.hh"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace hpcvmm::daemon::log {

namespace {
bool as_json = false;

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::Trace: return spdlog::level::trace;
    case Level::Debug: return spdlog::level::debug;
    case Level::Info: return spdlog::level::info;
    case Level::Warning: return spdlog::level::warn;
    case Level::Error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}
}  // namespace

void start(const std::string& level, bool json, std::uint32_t node) {
  as_json = json;
  // Again once the number of the node is known.
  spdlog::drop("hpcd");
  auto logger = spdlog::stderr_logger_st("hpcd");
  logger->set_level(spdlog::level::from_str(level));
  const std::string number = std::to_string(node);
  logger->set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","node":)" + number + ",%v}"
                           : "%Y-%m-%d %H:%M:%S.%e hpcd[" + number + "] %l: %v");
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

void write(Level level, std::string_view message, Fields fields) {
  if (!spdlog::should_log(level_of(level))) return;
  std::string line = as_json ? "\"message\":" + json_text(message) : std::string(message);
  for (const Field& f : fields) {
    if (as_json) {
      line += std::string(",\"") + f.name + "\":" + (f.quoted ? json_text(f.text) : f.text);
    } else {
      line += std::string(" ") + f.name + "=" + (f.quoted ? json_text(f.text) : f.text);
    }
  }
  spdlog::log(level_of(level), "{}", line);
}

}  // namespace hpcvmm::daemon::log
