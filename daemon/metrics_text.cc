#include "daemon/metrics_text.hh"

#include <array>
#include <charconv>

namespace hpcvmm::daemon {

void MetricsText::family(std::string_view name, std::string_view help, std::string_view type) {
  text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
  text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

void MetricsText::sample(std::string_view name,
                         const std::vector<std::pair<std::string, std::string>>& labels, double value) {
  text_.append(name);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    text_.append(i == 0 ? "{" : ",").append(labels[i].first).append("=\"");
    for (const char c : labels[i].second) {
      if (c == '\\' || c == '"') text_ += '\\';
      text_ += c == '\n' ? ' ' : c;
    }
    text_ += '"';
  }
  if (!labels.empty()) text_ += '}';
  std::array<char, 64> number{};
  const auto end = std::to_chars(number.data(), number.data() + number.size(), value).ptr;
  text_.append(" ").append(number.data(), end).append("\n");
}

std::string http_answer(std::string_view request_line, const std::function<std::string()>& metrics) {
  const auto answer = [](std::string_view status, std::string_view type, const std::string& body,
                         bool with_body) {
    std::string out = "HTTP/1.1 ";
    out.append(status).append("\r\nContent-Type: ").append(type);
    out.append("\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n");
    return with_body ? out + body : out;
  };
  const std::size_t blank = request_line.find(' ');
  const std::string_view method = request_line.substr(0, blank);
  std::string_view target =
      blank == std::string_view::npos ? std::string_view() : request_line.substr(blank + 1);
  target = target.substr(0, target.find(' '));
  if (method != "GET" && method != "HEAD")
    return answer("405 Method Not Allowed", "text/plain", "only GET\n", true);
  if (target != "/metrics")
    return answer("404 Not Found", "text/plain", "only /metrics is here\n", method == "GET");
  return answer("200 OK", "text/plain; version=0.0.4", metrics(), method == "GET");
}

}  // namespace hpcvmm::daemon
