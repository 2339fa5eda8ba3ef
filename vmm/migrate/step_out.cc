#include "vmm/migrate/step_out.hh"

#include "guest-agent/vdso/vdso.hh"
#include "hpcvmm/abi/vdso.h"

namespace hpcvmm::migrate {

using engine::Exit;
using engine::ExitKind;

/// IA32 guests' has nothing of the node in it.
CodeRange guest_vdso(std::uint64_t table) {
  if (table >> 32 == 0) return {};
  const std::uint64_t image = table + HPCVMM_VDSO_TABLE_BYTES;
  return {image, image + vdso::image64().size()};
}

Exit step_out(engine::Vcpu& vcpu, const CodeRange& host_vdso, const CodeRange& guest_vdso) {
  constexpr std::uint64_t kTrapFlag = 0x100;
  constexpr std::uint8_t kDebug = 1;
  constexpr unsigned kMost = 4096;
  const auto inside = [&] { return host_vdso.has(vcpu.regs().rip) || guest_vdso.has(vcpu.regs().rip); };
  Exit e;
  for (unsigned i = 0; i < kMost && inside(); ++i) {
    vcpu.regs().rflags |= kTrapFlag;
    e = vcpu.run();
    vcpu.regs().rflags &= ~kTrapFlag;
    if (e.kind == ExitKind::Interrupted) continue;
    if (e.kind != ExitKind::Exception || e.vector != kDebug) return e;
  }
  return {};
}

}  // namespace hpcvmm::migrate
