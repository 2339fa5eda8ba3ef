#include "cli/cluster/api_client.hh"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::cli {

namespace {

UniqueFd connect_to(const std::string& path) {
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  if (path.size() >= sizeof at.sun_path) {
    errno = ENAMETOOLONG;
    return {};
  }
  path.copy(at.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) return fd;
  return {};
}

ApiAnswer failed(std::string why) { return {false, std::move(why), {}}; }

}  // namespace

ApiAnswer ask_api(const std::string& socket, const nlohmann::json& request, int timeout_ms,
                  const std::function<void(const nlohmann::json&)>& progress) {
  const UniqueFd fd = connect_to(socket);
  if (!fd) return failed(std::strerror(errno));
  const std::string text = request.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    return failed("it does not take requests");
  std::string input;
  std::array<char, 16384> buffer{};
  for (;;) {
    pollfd p{fd.get(), POLLIN, 0};
    const int ready = ::poll(&p, 1, timeout_ms > 0 ? timeout_ms : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return failed("it does not answer");
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) return failed("it hung up before it had answered");
    input.append(buffer.data(), static_cast<std::size_t>(n));
    for (std::size_t end = 0; (end = input.find('\n')) != std::string::npos;) {
      nlohmann::json j = nlohmann::json::parse(input.substr(0, end), nullptr, false);
      input.erase(0, end + 1);
      if (!j.is_object()) return failed("it answered what is no JSON");
      if (j.contains("ok")) return {true, {}, std::move(j)};
      if (progress) progress(j);
    }
  }
}

}  // namespace hpcvmm::cli
