// Memory that the guest makes here without a word to home first (growth.hh).
#include <sys/mman.h>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/remote_impl.hh"
#include "vmm/sys/call.hh"

namespace hpcvmm::migrate {

/// Before the Run that lets the only thread go on.
void Remote::on_grant(const std::byte* data, std::size_t bytes) {
  Grant g{};
  if (read_as(g, data, bytes)) growth_.grant(g);
}

bool Remote::grow(sys::Call call, const sys::Args& args, std::uint64_t& result) {
  if (!one_thread()) return false;
  Growth::Pages fresh;
  const Growth::Answer answer =
      call == sys::Call::brk ? growth_.brk(args[0], result, fresh) : growth_.map(args, result, fresh);
  if (answer == Growth::Answer::AskHome) return false;
  if (fresh.begin < fresh.end) make_map({fresh.begin, fresh.end, PROT_READ | PROT_WRITE, PageKind::Fresh, 0});
  return true;
}

void Remote::tell_grown() {
  const auto pieces = growth_.untold();
  if (pieces.empty()) return;
  const Head head{Msg::Grown, 0, static_cast<std::uint32_t>(pieces.size())};
  send(Stream::Urgent, {{&head, sizeof head}, {pieces.data(), pieces.size_bytes()}});
  growth_.told();
}

}  // namespace hpcvmm::migrate
