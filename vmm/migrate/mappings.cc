#include "vmm/migrate/mappings.hh"

#include <algorithm>

namespace hpcvmm::migrate {

namespace local = wire::local;

void name_mapping(std::string_view path, local::Mapping& out) {
  constexpr std::string_view kDeleted = " (deleted)";
  constexpr std::string_view kMemfd = "/memfd:";
  constexpr std::string_view kPosix = "/dev/shm/";
  constexpr std::string_view kSystemV = "/SYSV";
  constexpr std::size_t kKeyDigits = 8;
  const bool deleted = path.ends_with(kDeleted);
  const std::string_view bare = deleted ? path.substr(0, path.size() - kDeleted.size()) : path;
  std::string_view name = path;  // of a file people are told that it has been deleted
  std::string_view before;
  out.kind = local::SharedKind::File;
  if (path.empty() || path[0] != '/') {
    out.kind = local::SharedKind::Other;
  } else if (deleted && bare == "/dev/zero") {
    out.kind = local::SharedKind::Anonymous;
    name = {};
  } else if (deleted && bare.starts_with(kMemfd)) {
    out.kind = local::SharedKind::Memfd;
    name = bare.substr(kMemfd.size());
  } else if (deleted && bare.starts_with(kSystemV) && bare.size() == kSystemV.size() + kKeyDigits) {
    out.kind = local::SharedKind::SystemV;
    before = "0x";
    name = bare.substr(kSystemV.size());
  } else if (path.starts_with(kPosix)) {
    out.kind = local::SharedKind::Posix;
    // shm_open's name.
    name = path.substr(kPosix.size() - 1);
  }
  constexpr std::size_t kRoom = sizeof out.name - 1;
  const std::size_t more = std::min(name.size(), kRoom - before.size());
  before.copy(out.name, before.size());
  name.copy(out.name + before.size(), more);
  out.name[before.size() + more] = 0;
}

}  // namespace hpcvmm::migrate
