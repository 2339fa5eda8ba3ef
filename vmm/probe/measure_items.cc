// Judges the engine measurements: what each number means and what to do about it.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "vmm/probe/facts.hh"
#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

namespace hpcvmm::probe {
namespace {

constexpr int kLimitMs = 600;  // per measurement; the longest takes about 60 ms on a slow (PVM) host

[[gnu::format(printf, 1, 2)]] std::string print(const char* format, ...) {
  char text[200];
  va_list arguments;
  va_start(arguments, format);
  // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 does not see va_start here
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

const char* unfinished(Outcome outcome) {
  switch (outcome) {
    case Outcome::TimedOut: return "the measurement did not end in time";
    case Outcome::NotRun: return "no process or memory for the measurement";
    default: return "the measurement crashed";
  }
}

void add_kvm_device(HostFacts& facts, const KvmBase& base, Outcome outcome) {
  Item item{
      .section = "kvm", .key = "device", .state = State::Ok, .value = "", .explanation = "", .remedy = ""};
  if (base.failed_errno == 0 && outcome == Outcome::Done && base.api_version == 12) {
    item.value = "/dev/kvm, API 12";
    item.explanation = "a VM, a memory slot and a vCPU could be made and used";
    facts.items.push_back(item);
    return;
  }
  item.state = State::Missing;
  if (outcome != Outcome::Done) {
    item.value = unfinished(outcome);
    item.remedy = "look at the kernel log for messages of kvm";
  } else if (base.failed_errno == 0) {
    item.value = print("API %d, not 12", base.api_version);
    item.remedy = "use a kernel with the stable KVM API";
  } else {
    item.value = print("%s: %s", base.failed_step, strerrordesc_np(base.failed_errno));
    if (base.failed_errno == ENOENT || base.failed_errno == ENODEV)
      item.remedy =
          "enable virtualisation in the firmware and load kvm_intel or kvm_amd; in a container pass /dev/kvm "
          "in";
    else if (base.failed_errno == EACCES || base.failed_errno == EPERM)
      item.remedy = "add the user to group kvm (usermod -aG kvm USER) and log in again";
    else
      item.remedy = "look at the kernel log for messages of kvm";
  }
  item.explanation = "without KVM programs run on the direct engine, which does not isolate them";
  facts.items.push_back(item);
}

void add_kvm_abi(HostFacts& facts, Abi abi, CodeRun run, double mips, double native_mips) {
  const bool wide = abi == Abi::X64;
  Item item{.section = "kvm",
            .key = wide ? "x86_64" : "ia32",
            .state = State::Ok,
            .value = std::string(to_string(run)),
            .explanation = "",
            .remedy = ""};
  if (run != CodeRun::Absent) {
    item.value += print(mips >= 100 ? ", %.0f MIPS" : ", %.2f MIPS", mips);
    item.number = mips;
    item.unit = "mips";
  }
  if (run == CodeRun::Native) {
    item.explanation = native_mips > 0 ? print("the same loop outside a VM: %.0f MIPS", native_mips)
                                       : "user code runs on the CPU itself";
  } else {
    item.state = run == CodeRun::Emulated ? State::Degraded : State::Missing;
    item.explanation = run == CodeRun::Emulated
                           ? "KVM interprets each instruction; --engine auto takes direct instead"
                           : "a small loop at CPL 3 did not come to its end";
    item.remedy = "a host with VT-x or SVM (no nesting without it) runs it natively";
  }
  facts.items.push_back(item);
}

struct Timing {
  const char* section;
  const char* key;
  double us;       // 0: not measured
  double good_us;  // more is degraded
  const char* explanation;
  const char* remedy;
};

void add_time(HostFacts& facts, const Timing& timing) {
  const bool measured = timing.us > 0;
  const bool good = measured && timing.us <= timing.good_us;
  facts.items.push_back({.section = timing.section,
                         .key = timing.key,
                         .state = good ? State::Ok : (measured ? State::Degraded : State::Missing),
                         .value = measured ? print("%.2f us", timing.us) : "not measured",
                         .number = timing.us,
                         .unit = "us",
                         .explanation = timing.explanation,
                         .remedy = good ? "" : timing.remedy});
}

void add_kvm_limits(HostFacts& facts, const KvmBase& base) {
  const auto add = [&facts](const char* key, int number, int wanted, const char* explanation,
                            const char* remedy) {
    Item item{.section = "kvm",
              .key = key,
              .state = number >= wanted ? State::Ok : State::Degraded,
              .value = print("%d", number),
              .number = static_cast<double>(number),
              .unit = "count",
              .explanation = explanation,
              .remedy = ""};
    if (number < wanted) item.remedy = remedy;
    facts.items.push_back(item);
  };
  add("memslots", base.nr_memslots, 1000, "memory slots of one VM: with few, each must be larger",
      "Linux 5.12 or later allows 32764");
  add("max_vcpus", base.max_vcpus, 256, "vCPUs of one VM, so threads of one guest program",
      "use a kernel built with a larger KVM_MAX_VCPUS");
  Item sync{.section = "kvm",
            .key = "sync_regs",
            .state = (base.sync_regs & 7) == 7 ? State::Ok : State::Degraded,
            .value = print("0x%x", static_cast<unsigned>(base.sync_regs)),
            .explanation = "registers, segments and events travel in kvm_run, without an ioctl of their own",
            .remedy = ""};
  if (sync.state != State::Ok) sync.remedy = "Linux 4.17 or later has it on x86";
  facts.items.push_back(sync);
}

void add_lstar(HostFacts& facts, const KvmBase& base) {
  const bool quirk = base.lstar_cpl == 3;
  facts.looks_like_pvm = quirk;
  facts.items.push_back(
      {.section = "kvm",
       .key = "lstar_cpl",
       .state = base.lstar_cpl == 0 ? State::Ok : (quirk ? State::Degraded : State::Missing),
       .value = base.lstar_cpl < 0 ? "not measured" : print("CPL %d%s", base.lstar_cpl, quirk ? ", PVM" : ""),
       .number = static_cast<double>(base.lstar_cpl),
       .unit = "cpl",
       .explanation =
           quirk ? "syscall stays at CPL 3: KVM without hardware virtualisation (PVM); exits cost more"
                 : "where the guest's syscall instruction arrives",
       .remedy = base.lstar_cpl == 0 ? "" : "a host with VT-x or SVM has faster exits"});
}

void add_kvm_touch(HostFacts& facts) {
  KvmTouch touch;
  run_guarded(kLimitMs, touch, probe_kvm_touch);
  add_time(facts, {"kvm", "first_touch_4k", touch.touch4k_us, 3, "first write to a 4 KiB page, per page",
                   "large areas profit from transparent huge pages (next line)"});
  // Clearing 2 MiB takes 0.2-0.6 ms on any host; what matters is that it is one fault.
  add_time(facts, {"kvm", "first_touch_2m", touch.touch2m_us, touch.huge_given ? 1500.0 : 0.0,
                   touch.huge_given ? "first write to a 2 MiB transparent huge page, per huge page"
                                    : "first write per 2 MiB, but the host gave no transparent huge page",
                   touch.huge_given ? "nothing to set: this host is slow at clearing memory"
                                    : "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
}

void add_kvm32(HostFacts& facts, double native_mips) {
  Kvm32 compat;
  facts.conclusive &= conclusive(run_guarded(kLimitMs, compat, probe_kvm32), compat.failed_errno);
  facts.engines.kvm[static_cast<std::size_t>(Abi::Ia32)] = compat.run32;
  add_kvm_abi(facts, Abi::Ia32, compat.run32, compat.mips32, native_mips);
  if (compat.run32 == CodeRun::Absent) return;
  Kvm32Sse sse;
  run_guarded(kLimitMs, sse, probe_kvm32_sse);
  facts.items.push_back({.section = "kvm",
                         .key = "ia32_sse",
                         .state = sse.works ? State::Ok : State::Missing,
                         .value = sse.works ? "works" : "fails",
                         .explanation = sse.works
                                            ? "SSE in 32-bit code"
                                            : "SSE (and x87, AVX) in 32-bit code raises #UD: only integer "
                                              "IA32 programs run on kvm here",
                         .remedy = sse.works ? "" : "--engine auto takes direct for IA32 programs"});
  add_time(facts, {"kvm", "ia32_int80", compat.int80_us, 5,
                   compat.int80_as_undefined ? "int $0x80 to user space and back (arrives as #UD here)"
                                             : "int $0x80 to user space and back",
                   "--engine auto takes direct where IA32 is emulated"});
}

void add_kvm(HostFacts& facts) {
  KvmBase base;
  const Outcome outcome = run_guarded(kLimitMs, base, probe_kvm_base);
  facts.conclusive &= conclusive(outcome, base.failed_errno);
  facts.engines.kvm[static_cast<std::size_t>(Abi::X64)] = base.run64;
  add_kvm_device(facts, base, outcome);
  if (base.api_version == 0) return;
  add_kvm_limits(facts, base);
  add_kvm_abi(facts, Abi::X64, base.run64, base.mips64, base.mips_native);
  if (base.run64 == CodeRun::Absent) return;
  const char* const slow = "a host with VT-x or SVM needs 1-2 us; fewer system calls help everywhere";
  add_time(facts, {"kvm", "exit", base.exit_us, 5,
                   "exit from CPL 3 to user space and back: floor of a system call", slow});
  add_time(facts, {"kvm", "syscall", base.syscall_us, 5, "the same through the syscall instruction and LSTAR",
                   slow});
  add_lstar(facts, base);
  add_kvm32(facts, base.mips_native);
  add_kvm_touch(facts);
}

void add_direct(HostFacts& facts) {
  Direct64 wide;
  const Outcome outcome = run_guarded(kLimitMs, wide, probe_direct64);
  const char* const failure = outcome != Outcome::Done ? unfinished(outcome)
                              : wide.failed_errno != 0 ? strerrordesc_np(wide.failed_errno)
                                                       : "the call was not dispatched";
  facts.conclusive &= conclusive(outcome, wide.failed_errno);
  facts.engines.direct[static_cast<std::size_t>(Abi::X64)] = wide.dispatch;
  facts.items.push_back(
      {.section = "direct",
       .key = "dispatch",
       .state = wide.dispatch ? State::Ok : State::Missing,
       .value = wide.dispatch ? "Syscall User Dispatch" : failure,
       .explanation = "brings the system calls of programs that run in the VMM's own process",
       .remedy = wide.dispatch ? "" : "Linux 5.11 or later, and no seccomp filter against prctl 59"});
  if (wide.dispatch)
    add_time(facts,
             {"direct", "x86_64_dispatch", wide.dispatch_us, 4, "a dispatched x86-64 system call and back",
              "a kernel with fewer signal-path mitigations, or kvm"});
  Direct32 narrow;
  facts.conclusive &= conclusive(run_guarded(kLimitMs, narrow, probe_direct32));
  facts.engines.direct[static_cast<std::size_t>(Abi::Ia32)] = narrow.dispatch;
  facts.items.push_back({.section = "direct",
                         .key = "ia32_emulation",
                         .state = narrow.emulation ? State::Ok : State::Missing,
                         .value = narrow.emulation ? "works" : "absent",
                         .explanation =
                             "32-bit code and int $0x80 in a 64-bit process: both engines need it for IA32 "
                             "programs",
                         .remedy = narrow.emulation ? ""
                                                    : "boot with ia32_emulation=on, or use a kernel with "
                                                      "CONFIG_IA32_EMULATION=y"});
  if (!narrow.emulation) return;
  add_time(facts, {"direct", "ia32_int80", narrow.int80_us, 8, "int $0x80 issued by a 64-bit process",
                   "64-bit twins are used where the layout is the same"});
  if (narrow.dispatch)
    add_time(facts, {"direct", "ia32_dispatch", narrow.dispatch_us, 10,
                     "a dispatched IA32 system call and back", "use kvm where it runs IA32 natively"});
}

}  // namespace

void add_engine_items(HostFacts& facts) {
  add_kvm(facts);
  add_direct(facts);
}

}  // namespace hpcvmm::probe
