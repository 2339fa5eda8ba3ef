#include "vmm/deputy/low_memory.hh"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/task.hh"
#include "vmm/sys/call_gate.hh"
#include "vmm/sys/marshal.hh"

namespace hpcvmm::deputy {
namespace {

static_assert(sys::kLowBytes == kPageSize);
constexpr std::size_t kGrain = kPageSize / 64;  // one bit of g_taken
static_assert(kGrain % sys::kLowAlign == 0);

// NOLINTBEGIN: per process
std::atomic_flag g_busy = ATOMIC_FLAG_INIT;
std::atomic<bool> g_mapped{false};
std::atomic<std::uint64_t> g_taken{0};
// NOLINTEND

/// Never waits: a vfork child may have been killed with it, and going by the guest's pages is right, too.
class Turn {
 public:
  Turn() : mine_(!g_busy.test_and_set(std::memory_order_acquire)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (mine_) g_busy.clear(std::memory_order_release);
  }
  explicit operator bool() const { return mine_; }

 private:
  const bool mine_;
};

std::uint64_t bits(std::size_t grains) {
  return grains >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << grains) - 1;
}
std::size_t grains_of(std::size_t bytes) { return (bytes + kGrain - 1) / kGrain; }

bool map_page() {
  if (g_mapped.load()) return true;
  // The direct engine has something there for a moment now and then.
  if (raw_call(SYS_mmap, kLowPage, kPageSize, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~std::uint64_t{0}, 0) < 0)
    return false;
  raw_call(SYS_madvise, kLowPage, kPageSize, MADV_DONTDUMP);
  g_mapped.store(true);
  return true;
}

void unmap_page() {
  if (!g_mapped.load()) return;
  g_mapped.store(false);
  raw_call(SYS_munmap, kLowPage, kPageSize);
}

std::uint64_t take(std::size_t bytes) {
  const std::size_t grains = grains_of(bytes);
  if (grains == 0 || grains > 64) return 0;
  const Turn turn;
  if (!turn || !map_page()) return 0;
  const std::uint64_t taken = g_taken.load();
  for (std::size_t at = 0; at + grains <= 64; ++at) {
    const std::uint64_t mine = bits(grains) << at;
    if ((taken & mine) != 0) continue;
    g_taken.fetch_or(mine);
    return kLowPage + at * kGrain;
  }
  return 0;
}

}  // namespace

std::uint64_t take_low(std::size_t bytes) { return self().process->abi == Abi::Ia32 ? take(bytes) : 0; }

void give_low(std::uint64_t at, std::size_t bytes) {
  g_taken.fetch_and(~(bits(grains_of(bytes)) << ((at - kLowPage) / kGrain)));
  const Turn turn;
  if (turn && g_taken.load() == 0) unmap_page();
}

std::int64_t open_small(const char* path, int flags) {
  constexpr std::uint64_t kOpen32 = 5;
  const std::size_t bytes = std::strlen(path) + 1;
  const std::uint64_t at = take(bytes);
  if (at == 0) return -ENOMEM;
  std::memcpy(reinterpret_cast<void*>(at), path, bytes);
  const int no_signal = 0;  // of the guest's: this may be a thread of the VMM
  const sys::SysRet rc =
      sys::gated_call32(kOpen32, {at, static_cast<std::uint32_t>(flags), 0, 0, 0, 0}, no_signal);
  give_low(at, bytes);
  return rc.is_restart() ? -EINTR : rc.value();
}

void forget_low() {
  g_taken.store(0);
  // The parent may have been about to say that it is there.
  if (g_busy.test()) g_mapped.store(true);
  unmap_page();
  g_busy.clear();
}

bool is_low_page(std::uint64_t begin, std::uint64_t end) {
  return g_mapped.load() && begin == kLowPage && end == kLowPage + kPageSize;
}

}  // namespace hpcvmm::deputy
