#include "vmm/migrate/trial.hh"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate::trial {
namespace {

sockaddr_un g_socket{};  // NOLINT: written by read_environment() alone

void read_socket() {
  const char* const path = std::getenv("HPCVMM_HOLD");  // NOLINT(concurrency-mt-unsafe): no second thread yet
  if (path == nullptr || std::strlen(path) >= sizeof g_socket.sun_path) return;
  g_socket.sun_family = AF_UNIX;
  std::memcpy(g_socket.sun_path, path, std::strlen(path));
}

std::uint32_t number(const char* name) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): no second thread yet
  return text == nullptr ? 0 : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

namespace detail {

bool holding = false;           // NOLINT
std::uint32_t first_calls = 0;  // NOLINT

void announce(const char* point) {
  const int made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) return;
  int fd = -1;
  host().hide_fd(made, &fd);
  const auto* const to = reinterpret_cast<const sockaddr*>(&g_socket);
  if (::connect(fd, to, sizeof g_socket) == 0) {
    std::array<char, 64> line{};
    const int n =
        std::snprintf(line.data(), line.size(), "%s %d\n", point, static_cast<int>(::syscall(SYS_getpid)));
    static_cast<void>(::send(fd, line.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL));
    while (::recv(fd, line.data(), line.size(), 0) < 0 && errno == EINTR) {
    }
  }
  host().close_fd(fd);
}

}  // namespace detail

void read_environment() {
  read_socket();
  detail::holding = g_socket.sun_family != 0;
  detail::first_calls = number("HPCVMM_MOVE_AT_CALLS");
}

}  // namespace hpcvmm::migrate::trial
