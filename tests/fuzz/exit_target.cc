// Threat model: a guest runs any instructions with any registers, so an exit can come from anywhere: from the
// stub, from the guest's own `out`, from a jump into the stub.  The decoder must not read outside the vCPU's
// page, take a guest's own `out` for a system call, nor hand out registers that are neither the guest's nor
// those of the frame. Input grammar: one byte (bits 0-1 port, 2 CPL 3, 3 guest memory unreadable, 4-5 where
// RIP is, 6 where RSP is), the two bytes of code at RIP, then as far as they go rip, rsp, cs, rcx, r11, CR2
// (8 bytes each), then the end of the vCPU's page.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/fuzz_targets.hh"
#include "vmm/engine/kvm/decode.hh"

namespace hpcvmm::fuzz {
namespace {

namespace kvm = engine::kvm;
using engine::ExitKind;

constexpr std::uint64_t kPageVa = kvm::kVcpuPages;
constexpr std::uint64_t kSysret = kvm::kStubCode + 2;

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

/// A vCPU's page between two inaccessible ones.
char* guarded_page() {
  static char* const page = [] {
    auto* const p =
        static_cast<char*>(::mmap(nullptr, 3 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::mprotect(p + kPageSize, kPageSize, PROT_READ | PROT_WRITE);
    return p + kPageSize;
  }();
  return page;
}

// The guest's memory: the same two bytes everywhere, or none.  Targets run on one thread.
std::array<std::uint8_t, 2> g_code;  // NOLINT
bool g_unreadable;                   // NOLINT

bool read_code(void* to, std::uint64_t, std::size_t bytes) {
  require(bytes == g_code.size(), "an `int n` has two bytes");
  if (g_unreadable) return false;
  std::memcpy(to, g_code.data(), bytes);
  return true;
}

struct Input {
  const std::uint8_t* data;
  std::size_t bytes;
  std::uint64_t word() {
    std::uint64_t v = 0;
    const std::size_t n = std::min(bytes, sizeof v);
    std::memcpy(&v, data, n);
    data += n;
    bytes -= n;
    return v;
  }
};

bool same_general(const GuestRegs& a, const GuestRegs& b) {
  return a.rax == b.rax && a.rbx == b.rbx && a.rcx == b.rcx && a.rdx == b.rdx && a.rsi == b.rsi &&
         a.rdi == b.rdi && a.rbp == b.rbp && a.r8 == b.r8 && a.r9 == b.r9 && a.r10 == b.r10 &&
         a.r11 == b.r11 && a.r12 == b.r12 && a.r13 == b.r13 && a.r14 == b.r14 && a.r15 == b.r15 &&
         a.fs_base == b.fs_base && a.gs_base == b.gs_base;
}

void check_out(const kvm::IoExit& io, const GuestRegs& before, const GuestRegs& after,
               const engine::Exit& e) {
  const bool in_stub = before.rip >= kvm::kStubCode && before.rip <= kSysret;
  if (e.kind == ExitKind::Syscall64) {
    require(io.port == kvm::kPortSyscall && in_stub, "only the stub makes system calls");
    require(after.rip == before.rcx && after.rflags == before.r11, "a call leaves the user's registers");
    require(after.cs == kUserCs64 && after.ss == kUserDs, "a call leaves the user's segments");
    return;
  }
  require(e.kind == ExitKind::Exception && e.vector == 13 && e.error_code == 0, "a guest's `out` is a #GP");
  require(after.rip == (before.rip >= 2 ? before.rip - 2 : before.rip), "a #GP is at its instruction");
  require(after.rsp == before.rsp && after.cs == before.cs, "a guest's `out` changes nothing");
}

void check_exception(const kvm::IoExit& io, const GuestRegs& before, const GuestRegs& after,
                     const engine::Exit& e) {
  const std::uint64_t offset = before.rsp - kPageVa;
  if (offset > kPageSize - 56) {
    require(e.kind == ExitKind::Broken, "a stack pointer outside the page is refused");
    return;
  }
  std::array<std::uint64_t, 7> frame{};
  std::memcpy(frame.data(), io.page + offset, sizeof frame);
  if ((frame[3] & 3) != 3) {
    require(e.kind == ExitKind::Broken, "an exception of the stub ends the process");
    return;
  }
  const bool called = e.kind == ExitKind::Syscall32;
  require(called || e.kind == ExitKind::Exception, "an exception, or int $0x80");
  require(after.rip == frame[2] || (called && after.rip == frame[2] + 2), "RIP is the frame's");
  require(after.rsp == frame[5] && after.rflags == frame[4], "RSP and RFLAGS are the frame's");
  require((after.cs & 3) == 3, "only user code is resumed");
  require(e.fault_address == 0 || (e.vector == 14 && e.fault_address == io.cr2), "only #PF has an address");
}

}  // namespace

void exit(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 3) return;
  const std::uint8_t mood = data[0];
  static constexpr std::array<std::uint16_t, 4> kPorts{kvm::kPortSyscall, kvm::kPortException, 0x60, 0xffff};
  g_code = {data[1], data[2]};
  g_unreadable = (mood & 8) != 0;
  Input input{data + 3, bytes - 3};
  GuestRegs before{};
  before.rip = input.word();
  if ((mood >> 4 & 3) == 1) before.rip = kvm::kStubCode + before.rip % 4;
  if ((mood >> 4 & 3) == 2) before.rip = kvm::kStubExceptions + before.rip % kPageSize;
  before.rsp = input.word();
  if ((mood & 0x40) != 0) before.rsp = kPageVa - 64 + before.rsp % (kPageSize + 128);
  before.cs = static_cast<std::uint16_t>(input.word());
  before.rcx = input.word();
  before.r11 = input.word();
  before.rax = 0x1111;
  before.rbp = 0x2222;
  const std::uint64_t cr2 = input.word();
  char* const page = guarded_page();
  std::memset(page, 0, kPageSize);
  const std::size_t stack = std::min<std::size_t>(input.bytes, kPageSize);
  if (stack != 0) std::memcpy(page + kPageSize - stack, input.data, stack);

  const kvm::IoExit io{.port = kPorts[mood & 3],
                       .at_user = (mood & 4) != 0,
                       .page = page,
                       .page_va = kPageVa,
                       .cr2 = cr2,
                       .copy_in = read_code};
  GuestRegs after = before;
  const engine::Exit e = kvm::decode_io(io, after);
  require(same_general(before, after), "no general register changes");
  require(e.detail != nullptr, "there is a reason");
  if (io.port == kvm::kPortException && !io.at_user)
    check_exception(io, before, after, e);
  else
    check_out(io, before, after, e);

  after = before;
  const engine::Exit stopped = kvm::interrupted_at(after, kSysret);
  require(same_general(before, after), "no general register changes");
  require(stopped.kind == ExitKind::Interrupted ||
              (stopped.kind == ExitKind::Syscall64 && before.rip == kvm::kStubCode),
          "a call is seen at the LSTAR entry only");
}

}  // namespace hpcvmm::fuzz
