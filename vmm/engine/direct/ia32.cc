#include "vmm/engine/direct/ia32.hh"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstring>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/layout.hh"
#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/direct/host_call.hh"

namespace hpcvmm::engine::direct {
namespace {

constexpr std::uint32_t kIa32SetThreadArea = 243;
constexpr std::uint64_t kMapFlags = MAP_PRIVATE | MAP_ANONYMOUS;

std::atomic_flag low_page_busy = ATOMIC_FLAG_INIT;

/// One page below 4 GiB.  The first choice lies above an IA32 task's address space, so that no 32-bit guest
/// can see it or lose an mmap to it; a 64-bit guest may have something there, then any free low page serves.
std::int64_t map_low_page() {
  const std::int64_t at = host_call(SYS_mmap, kTaskSize32, kPageSize, PROT_READ | PROT_WRITE,
                                    kMapFlags | MAP_FIXED_NOREPLACE, ~0ull, 0);
  if (at >= 0) return at;
  return host_call(SYS_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, kMapFlags | MAP_32BIT, ~0ull, 0);
}

/// The 64-bit table has no set_thread_area(2), and `int $0x80` cuts pointers to 32 bits.
std::int64_t call_set_thread_area(std::uint32_t low_address) {
  std::int32_t result = static_cast<std::int32_t>(kIa32SetThreadArea);
  asm volatile("int $0x80" : "+a"(result) : "b"(low_address) : "memory", "cc", "r8", "r9", "r10", "r11");
  return result;
}

/// Runs in the probe child: 32-bit code that does exit(42) through `int $0x80`.  Dies if either half is
/// missing.
[[noreturn]] void probe_child() {
  struct {
    std::uint64_t handler, flags, restorer, mask;
  } deflt = {0, 0, 0, 0};
  for (const int signo : {SIGSEGV, SIGILL, SIGBUS, SIGTRAP, SIGSYS}) {
    host_call(SYS_rt_sigaction, static_cast<std::uint64_t>(signo), word(&deflt), 0, 8);
  }
  host_call(SYS_prctl, PR_SET_DUMPABLE, 0);
  const std::int64_t page =
      host_call(SYS_mmap, 0, kPageSize, PROT_READ | PROT_WRITE | PROT_EXEC, kMapFlags | MAP_32BIT, ~0ull, 0);
  if (page > 0) {
    // mov $1,%eax; mov $42,%ebx; int $0x80; hlt
    static constexpr unsigned char kCode[] = {0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80, 0xf4};
    std::memcpy(reinterpret_cast<void*>(page), kCode, sizeof kCode);
    asm volatile("push %0; push %1; lretq" : : "r"(std::uint64_t{kUserCs32}), "r"(page) : "memory");
  }
  for (;;) host_call(SYS_exit_group, 1);
}

}  // namespace

UserDesc user_desc_of(unsigned entry, std::uint64_t d) {
  const auto bit = [d](unsigned n) { return static_cast<std::uint32_t>(d >> n) & 1u; };
  UserDesc u{};
  u.entry_number = entry;
  if (d == 0) {
    u.flags = 1u << 3 | 1u << 5;  // read_exec_only, seg_not_present: LDT_empty() of <asm/desc.h>
    return u;
  }
  u.base_addr = static_cast<std::uint32_t>((d >> 16 & 0xffffff) | (d >> 56 & 0xff) << 24);
  u.limit = static_cast<std::uint32_t>((d & 0xffff) | (d >> 48 & 0xf) << 16);
  u.flags = bit(54)                                         // D: seg_32bit
            | static_cast<std::uint32_t>(d >> 42 & 3) << 1  // type bits 3..2: contents
            | (bit(41) ^ 1u) << 3                           // W or R clear: read_exec_only
            | bit(55) << 4                                  // G: limit_in_pages
            | (bit(47) ^ 1u) << 5                           // P clear: seg_not_present
            | bit(52) << 6;                                 // AVL: useable
  return u;
}

Status set_host_tls(unsigned index, std::uint64_t descriptor) {
  const UserDesc desc = user_desc_of(kTlsFirst + index, descriptor);
  while (low_page_busy.test_and_set(std::memory_order_acquire)) host_call(SYS_sched_yield);
  const std::int64_t page = map_low_page();
  std::int64_t result = page;
  if (page >= 0) {
    std::memcpy(reinterpret_cast<void*>(page), &desc, sizeof desc);
    result = call_set_thread_area(static_cast<std::uint32_t>(page));
    host_call(SYS_munmap, static_cast<std::uint64_t>(page), kPageSize);
  }
  low_page_busy.clear(std::memory_order_release);
  if (result < 0)
    return Error::of(static_cast<int>(-result), page < 0 ? "mmap of a low page" : "set_thread_area");
  return Unit{};
}

void ia32_after_fork() { low_page_busy.clear(std::memory_order_release); }

}  // namespace hpcvmm::engine::direct

namespace hpcvmm::engine {

bool supports_ia32() {
  using namespace direct;
  // Exit signal 0: whoever handles SIGCHLD in this process must not see the probe.
  const std::int64_t pid = host_call(SYS_clone, 0);
  if (pid == 0) probe_child();
  if (pid < 0) return false;
  int status = 0;
  std::int64_t got = 0;
  do {
    got = host_call(SYS_wait4, static_cast<std::uint64_t>(pid), word(&status), __WALL, 0);
  } while (got == -EINTR);
  return got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

}  // namespace hpcvmm::engine
