#include "vmm/engine/kvm/decode.hh"

#include <array>

namespace hpcvmm::engine::kvm {
namespace {

/// The number of the `int n` at `rip`; -1 if there is none, or no memory.
int interrupt_number(const IoExit& io, std::uint64_t rip) {
  // The two bytes were just fetched by the vCPU, so the page is there; another thread may still unmap it
  // meanwhile.
  std::array<std::uint8_t, 2> bytes{};
  if (!io.copy_in(bytes.data(), rip, bytes.size())) return -1;
  return bytes[0] == 0xcd ? bytes[1] : -1;
}

Exit decode_exception(const IoExit& io, GuestRegs& r) {
  // The stub left on the vCPU's stack: vector, error code, and the frame of Intel SDM vol. 3, 6.14.2.
  std::array<std::uint64_t, 7> f{};
  const std::uint64_t at = r.rsp - io.page_va;
  if (at > kStackTop - sizeof f)
    return {.kind = ExitKind::Broken, .detail = "exception stack pointer out of range"};
  std::memcpy(f.data(), io.page + at, sizeof f);
  r.rip = f[2];
  r.cs = static_cast<std::uint16_t>(f[3]);
  r.rflags = f[4];
  r.rsp = f[5];
  r.ss = static_cast<std::uint16_t>(f[6]);
  const auto vector = static_cast<std::uint8_t>(f[0]);
  if ((r.cs & 3) != 3)
    return {.kind = ExitKind::Broken, .vector = vector, .detail = "exception inside the stub"};
  if (vector == 0x80) return {.kind = ExitKind::Syscall32};
  // PVM: the emulator of 32-bit code raises #UD at int $0x80, native 64-bit code #GP with the gate's number.
  if (vector == 6 || (vector == 13 && f[1] == 0x402)) {
    const int number = interrupt_number(io, r.rip);
    if (number == 0x80) {
      r.rip += 2;
      return {.kind = ExitKind::Syscall32};
    }
    // `int n` for a gate that ring 3 may not use is #GP on every CPU; PVM says #UD.
    if (number >= 0)
      return {.kind = ExitKind::Exception,
              .vector = 13,
              .error_code = static_cast<std::uint32_t>(number) << 3 | 2};
  }
  Exit e{
      .kind = ExitKind::Exception, .vector = vector, .error_code = static_cast<std::uint32_t>(f[1] & 0x1f)};
  if (vector != 14) e.error_code = static_cast<std::uint32_t>(f[1]);
  if (vector == 14) e.fault_address = io.cr2;
  return e;
}

}  // namespace

Exit decode_io(const IoExit& io, GuestRegs& r) {
  if (io.port == kPortException && !io.at_user) return decode_exception(io, r);
  // Only the instruction at LSTAR makes this exit: the I/O bitmap opens the port to ring 3, so a guest's own
  // `out` gets here as well.  It is answered like the #GP that the instruction raises on Linux.
  const std::uint64_t rip = r.rip;
  if (io.port == kPortSyscall && rip >= kStubCode && rip <= kStubCode + 2) return as_syscall(r);
  if (rip >= 2) r.rip = rip - 2;
  return {.kind = ExitKind::Exception, .vector = 13};
}

}  // namespace hpcvmm::engine::kvm
