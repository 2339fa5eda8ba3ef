// Threat model: another node says that a guest there has made a call, with any registers, and sends any data
// along with it.  The deputy must make nothing of it but copies that it has room for, give the kernel no more
// of them than there is, and have nothing written but what was said to be written.  Input grammar: one byte
// (bit 0: IA32), the call's number (2 bytes), six words and the result (8 bytes each), then the data as
// forward.cc packs it.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/fuzz_targets.hh"
#include "vmm/engine/engine.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/migrate/forward.hh"
#include "vmm/sys/marshal.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::fuzz {
namespace {

namespace forward = migrate::forward;
using sys::Args;
using sys::SysRet;

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// Targets run on one thread.
mem::Overlay g_overlay;         // NOLINT
std::int64_t g_result = 0;      // NOLINT
std::uint64_t g_low_taken = 0;  // NOLINT: bytes

/// A page below 4 GiB between two inaccessible ones.
std::uint64_t low_page() {
  static const std::uint64_t page = [] {
    void* const p = ::mmap(nullptr, 3 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    const auto at = reinterpret_cast<std::uint64_t>(p) + kPageSize;
    ::mprotect(reinterpret_cast<void*>(at), kPageSize, PROT_READ | PROT_WRITE);
    return at;
  }();
  return page;
}

/// What is given ends where the page does.
std::uint64_t take_low(std::size_t bytes) {
  require(g_low_taken == 0, "one call takes room once");
  if (bytes == 0 || bytes > kPageSize) return 0;
  g_low_taken = (bytes + sys::kLowAlign - 1) & ~std::size_t{sys::kLowAlign - 1};
  return low_page() + kPageSize - g_low_taken;
}
void give_low(std::uint64_t at, std::size_t) {
  require(at == low_page() + kPageSize - g_low_taken, "what is given back was taken");
  g_low_taken = 0;
}

bool copy_in(void* to, std::uint64_t guest, std::size_t bytes) {
  return g_overlay.read(to, guest, bytes, [](std::uint64_t, std::size_t, std::size_t) { return false; });
}
bool copy_out(std::uint64_t guest, const void* from, std::size_t bytes) {
  return g_overlay.write(guest, from, bytes, [](std::uint64_t, std::size_t, std::size_t) { return false; });
}
std::uint64_t staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) {
  return g_overlay.staged(arg, guest, bytes);
}
bool has_copies() { return !g_overlay.empty(); }

/// The kernel writes to all it was given, and says what it likes: an error, or no more than it may have
/// written.
SysRet answer(std::int64_t most) {
  constexpr std::int64_t kErrors = 4095;
  return SysRet::raw(g_result < 0 ? -(g_result & kErrors) : std::min(g_result, most));
}
SysRet call64(std::uint64_t, const Args&) { return answer(INT32_MAX); }
SysRet call32(std::uint64_t, const Args& args) {
  if (g_low_taken == 0) return answer(INT32_MAX);
  std::memset(reinterpret_cast<void*>(low_page() + kPageSize - g_low_taken), 0xee, g_low_taken);
  return answer(static_cast<std::int64_t>(std::min<std::uint64_t>(args[2] & 0xffff'ffffU, g_low_taken)));
}

constexpr sys::HostGate kGate{call64, call32,     copy_in,  copy_out, nullptr,
                              staged, has_copies, take_low, give_low};

struct Input {
  const std::uint8_t* data;
  std::size_t bytes;
  std::uint64_t word(std::size_t most = 8) {
    std::uint64_t v = 0;
    const std::size_t n = std::min(bytes, most);
    std::memcpy(&v, data, n);
    data += n;
    bytes -= n;
    return v;
  }
};

}  // namespace

void call(const std::uint8_t* data, std::size_t bytes) {
  Input in{data, bytes};
  const Abi abi = (in.word(1) & 1U) != 0 ? Abi::Ia32 : Abi::X64;
  migrate::Left left{};
  GuestRegs& r = left.regs;
  r.rax = in.word(2);
  std::array<std::uint64_t, 6> words{};
  for (std::uint64_t& w : words) w = in.word();
  g_result = static_cast<std::int64_t>(in.word());
  left.kind =
      static_cast<std::uint8_t>(abi == Abi::X64 ? engine::ExitKind::Syscall64 : engine::ExitKind::Syscall32);
  if (abi == Abi::X64) {
    r.rdi = words[0], r.rsi = words[1], r.rdx = words[2], r.r10 = words[3], r.r8 = words[4], r.r9 = words[5];
  } else {
    r.rbx = words[0], r.rcx = words[1], r.rdx = words[2], r.rsi = words[3], r.rdi = words[4],
    r.rbp = words[5];
  }
  static forward::Blob room;
  room.clear();
  room.shrink_to_fit();  // so that the sanitizer sees where it ends
  if (!forward::unpack_call(left, reinterpret_cast<const std::byte*>(in.data), in.bytes, room, g_overlay)) {
    require(g_overlay.empty(), "what makes no sense leaves nothing");
    return;
  }
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(r.rax));
  require(row != nullptr && sys::may_marshal(*row, abi), "only calls that may use copies have some");
  const SysRet rc = sys::pass_through(*row, abi, sys::call_args(r, abi), kGate);
  require(g_low_taken == 0, "room below 4 GiB is given back");
  g_overlay.finish(rc.is_restart() ? -1 : rc.value());
  require(g_overlay.pieces() <= mem::Overlay::kMostPieces, "there is an end to pieces");
  for (unsigned i = 0; i < g_overlay.pieces(); ++i) {
    const mem::OverlayPiece& p = g_overlay.piece(i);
    const auto* const at = static_cast<const std::byte*>(p.data);
    require(at >= room.data() && at + p.bytes <= room.data() + room.size(), "pieces are of the copies");
    require(!touches_zone(p.guest, p.bytes), "nothing is written to the VMM");
  }
  forward::Blob results;
  forward::pack_results(g_overlay, results);
  g_overlay.clear();
}

}  // namespace hpcvmm::fuzz
