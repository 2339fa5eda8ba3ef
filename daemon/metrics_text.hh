// Prometheus' text format 0.0.4, and the answer to one HTTP request.  Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hpcvmm::daemon {

class MetricsText {
 public:
  /// Begins a metric; its samples follow.  `type`: "counter" or "gauge".
  void family(std::string_view name, std::string_view help, std::string_view type);
  void sample(std::string_view name, const std::vector<std::pair<std::string, std::string>>& labels,
              double value);
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// The whole answer to a request whose first line is `request_line`: GET or HEAD of /metrics, and nothing
/// else.
std::string http_answer(std::string_view request_line, const std::function<std::string()>& metrics);

}  // namespace hpcvmm::daemon
