// A remote's use of what its node knows of the home's names (vmm/names).
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/mem/arena.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/remote_impl.hh"

namespace hpcvmm::migrate {

/// Takes the descriptor.
void Remote::take_store(int fd) {
  if (fd < 0) return;
  constexpr std::size_t kBytes = wire::names::kStoreBytes;
  const std::uint64_t at = mem::arena_reserve(kBytes);
  void* const store =
      at == 0 ? MAP_FAILED : ::mmap(pointer(at), kBytes, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  ::close(fd);
  if (store != MAP_FAILED) static_cast<void>(names_.open(store));
}

void Remote::on_names(const std::byte* data, std::size_t bytes) {
  names::Circumstances c;
  if (bytes >= sizeof(Head) && read_as(c, data + sizeof(Head), bytes - sizeof(Head))) names_.set(c);
}

void Remote::ask_for_name(std::string_view path) {
  wire::local::NamesAsk ask;
  copy_text(ask.path, sizeof ask.path, std::string(path));
  link_.send_control(&ask, sizeof ask);
}

void Remote::tell_reopens(const std::vector<std::byte>& reopens, std::uint32_t count) {
  const Head head{Msg::Reopens, 0, count};
  send(Stream::Urgent, {{&head, sizeof head}, {reopens.data(), reopens.size()}});
}

bool Remote::one_thread() {
  const mem::LockGuard guard(runners_lock_);
  return runners_.size() == 1;
}

}  // namespace hpcvmm::migrate
