// The API socket of an hpcd: a request, progress, an answer; each a line of JSON (daemon/README.md).
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace hpcvmm::cli {

struct ApiAnswer {
  bool answered = false;  ///< false: `error` says why nobody answered
  std::string error;
  nlohmann::json json;
};

/// Asks and waits for the final answer; every other line goes to `progress`.  `timeout_ms`: of silence; 0:
/// for ever.
ApiAnswer ask_api(const std::string& socket, const nlohmann::json& request, int timeout_ms,
                  const std::function<void(const nlohmann::json&)>& progress = {});

}  // namespace hpcvmm::cli
