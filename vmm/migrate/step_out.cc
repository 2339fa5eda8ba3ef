#include "vmm/migrate/step_out.hh"

namespace hpcvmm::migrate {

using engine::Exit;
using engine::ExitKind;

Exit step_out(engine::Vcpu& vcpu, std::uint64_t begin, std::uint64_t end) {
  constexpr std::uint64_t kTrapFlag = 0x100;
  constexpr std::uint8_t kDebug = 1;
  constexpr unsigned kMost = 4096;
  const auto inside = [&] { return vcpu.regs().rip >= begin && vcpu.regs().rip < end; };
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
