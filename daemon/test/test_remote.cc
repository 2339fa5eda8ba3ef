// A remote for tests: sends back what it gets, on the same lane.  A record that begins with '!' is an order:
//   !exit N   ends with that status after everything has been written;   !hang   reads nothing any more;
//   !who      answers with its user, capabilities, open descriptors and environment.
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "daemon/test/vmm_client.hh"

extern char** environ;

namespace {

using hpcvmm::daemon::test::VmmClient;
using Bytes = std::vector<std::byte>;

std::string text_of(const Bytes& b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

Bytes bytes_of(const std::string& s) {
  const auto* const p = reinterpret_cast<const std::byte*>(s.data());
  return {p, p + s.size()};
}

std::string who() {
  std::ostringstream out;
  out << "uid=" << ::getuid() << " gid=" << ::getgid() << " ppid=" << ::getppid();
  out << " nnp=" << ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  int death = 0;
  ::prctl(PR_GET_PDEATHSIG, &death);
  out << " pdeathsig=" << death << " fds=";
  for (int fd = 0; fd < 1024; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) out << fd << ",";
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("CapEff") || line.starts_with("CapPrm") || line.starts_with("Groups"))
      out << " " << line.substr(0, line.find(':')) << "=" << line.substr(line.find('\t') + 1);
  out << " env=";
  for (char** e = environ; *e != nullptr; ++e) out << *e << ",";
  return out.str();
}

void obey(VmmClient& c, bool urgent, std::uint32_t channel, const std::string& order) {
  if (order.starts_with("!exit ")) ::_exit(std::atoi(order.c_str() + 6));
  if (order == "!hang")
    for (;;) ::pause();
  if (order == "!who") c.put(urgent, channel, bytes_of(who()));
}

}  // namespace

int main() {
  // Descriptors 6 and up are the tests' business: none may be open.
  hpcvmm::UniqueFd socket(3);
  VmmClient c(std::move(socket));
  if (!c.register_as(hpcvmm::wire::local::Role::Remote)) return 1;
  if (!c.wait_for(hpcvmm::wire::local::Type::Attach, 10'000)) return 2;
  for (;;) {
    bool worked = false;
    for (const bool urgent : {true, false}) {
      std::uint32_t channel = 0;
      Bytes payload;
      while (c.get(urgent, channel, payload)) {
        worked = true;
        if (!payload.empty() && payload[0] == std::byte{'!'})
          obey(c, urgent, channel, text_of(payload));
        else if (!c.put(urgent, channel, payload))
          return 3;
      }
    }
    if (worked) continue;
    if (auto m = c.receive(0); m && m->type() == hpcvmm::wire::local::Type::Closed) return 0;
    if (c.ended()) return 0;
    c.wait(1000);
  }
}
