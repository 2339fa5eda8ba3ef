#include "vmm/gdb/registers.hh"

#include <array>
#include <cstring>

namespace hpcvmm::gdb {
namespace {

enum class Kind : std::uint8_t { General, Flags, Selector, Base, St, Control, Xmm, Mxcsr, Orig };

struct Register {
  Kind kind;
  std::uint8_t index;  // within its kind
  std::uint8_t bytes;
};

using Word = std::uint64_t GuestRegs::*;
using Selector = std::uint16_t GuestRegs::*;
constexpr std::array<Word, 17> kGeneral64 = {
    &GuestRegs::rax, &GuestRegs::rbx, &GuestRegs::rcx, &GuestRegs::rdx, &GuestRegs::rsi, &GuestRegs::rdi,
    &GuestRegs::rbp, &GuestRegs::rsp, &GuestRegs::r8,  &GuestRegs::r9,  &GuestRegs::r10, &GuestRegs::r11,
    &GuestRegs::r12, &GuestRegs::r13, &GuestRegs::r14, &GuestRegs::r15, &GuestRegs::rip};
constexpr std::array<Word, 9> kGeneral32 = {&GuestRegs::rax, &GuestRegs::rcx, &GuestRegs::rdx,
                                            &GuestRegs::rbx, &GuestRegs::rsp, &GuestRegs::rbp,
                                            &GuestRegs::rsi, &GuestRegs::rdi, &GuestRegs::rip};
constexpr std::array<Selector, 6> kSelectors = {&GuestRegs::cs, &GuestRegs::ss, &GuestRegs::ds,
                                                &GuestRegs::es, &GuestRegs::fs, &GuestRegs::gs};
constexpr std::array<Word, 2> kBases = {&GuestRegs::fs_base, &GuestRegs::gs_base};

// Offsets in the legacy area of XSAVE.  Source: Intel SDM vol. 1, table 10-2.
constexpr std::size_t kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kFip = 8, kFdp = 16, kMxcsr = 24,
                      kMxcsrMask = 28;
constexpr std::size_t kSt = 32, kXmm = 160, kFpSlot = 16;
constexpr std::size_t kXstateBv = 512;
constexpr std::uint64_t kX87State = 1, kSseState = 2;
constexpr std::uint32_t kMxcsrDefaultMask = 0xffbf;

// CF PF AF ZF SF DF OF NT RF AC: what ptrace(2) lets a debugger change besides TF, which is the stub's own
// here.
constexpr std::uint64_t kFlagsWritable = 0x4'4cd5 | 0x1'0000;

constexpr unsigned kGeneralCount(Abi abi) { return abi == Abi::X64 ? 17 : 9; }
constexpr unsigned kXmmCount(Abi abi) { return abi == Abi::X64 ? 16 : 8; }

bool find(Abi abi, unsigned index, Register& out) {
  const auto word = static_cast<std::uint8_t>(abi == Abi::X64 ? 8 : 4);
  struct Group {
    Kind kind;
    unsigned count;
    std::uint8_t bytes;
  };
  const std::array<Group, 9> groups = {{{Kind::General, kGeneralCount(abi), word},
                                        {Kind::Flags, 1, 4},
                                        {Kind::Selector, 6, 4},
                                        {Kind::St, 8, 10},
                                        {Kind::Control, 8, 4},
                                        {Kind::Xmm, kXmmCount(abi), 16},
                                        {Kind::Mxcsr, 1, 4},
                                        {Kind::Orig, 1, word},
                                        {Kind::Base, abi == Abi::X64 ? 2U : 0U, 8}}};
  for (const Group& g : groups) {
    if (index < g.count) {
      out = {g.kind, static_cast<std::uint8_t>(index), g.bytes};
      return true;
    }
    index -= g.count;
  }
  return false;
}

template <class T> T load(const FpState& fp, std::size_t at) {
  T v{};
  std::memcpy(&v, fp.area.data() + at, sizeof v);
  return v;
}
template <class T> void store(FpState& fp, std::size_t at, T v) {
  std::memcpy(fp.area.data() + at, &v, sizeof v);
}

void mark_used(FpState& fp, std::uint64_t component) {
  store(fp, kXstateBv, load<std::uint64_t>(fp, kXstateBv) | component);
}

/// x87 control registers in the protocol's order: fctrl fstat ftag fiseg fioff foseg fooff fop.
std::uint32_t read_control(const FpState& fp, unsigned i) {
  switch (i) {
    case 0: return load<std::uint16_t>(fp, kFcw);
    case 1: return load<std::uint16_t>(fp, kFsw);
    case 2: return full_tag_word(fp);
    case 3: return load<std::uint16_t>(fp, kFip + 4);
    case 4: return load<std::uint32_t>(fp, kFip);
    case 5: return load<std::uint16_t>(fp, kFdp + 4);
    case 6: return load<std::uint32_t>(fp, kFdp);
    default: return load<std::uint16_t>(fp, kFop) & 0x7ffU;
  }
}

void write_control(FpState& fp, unsigned i, std::uint32_t v) {
  const auto half = static_cast<std::uint16_t>(v);
  switch (i) {
    case 0: return store(fp, kFcw, half);
    case 1: return store(fp, kFsw, half);
    case 2: {
      std::uint8_t bits = 0;
      for (unsigned r = 0; r < 8; ++r)
        if ((half >> (2 * r) & 3) != 3) bits = static_cast<std::uint8_t>(bits | 1U << r);
      return store(fp, kFtw, bits);
    }
    case 3: return store(fp, kFip + 4, half);
    case 4: return store(fp, kFip, v);
    case 5: return store(fp, kFdp + 4, half);
    case 6: return store(fp, kFdp, v);
    default: return store(fp, kFop, static_cast<std::uint16_t>(half & 0x7ffU));
  }
}

bool selector_ok(unsigned i, std::uint64_t value) {
  if (value > 0xffff) return false;
  const auto s = static_cast<std::uint16_t>(value);
  if (i == 0) return s == kUserCs64 || s == kUserCs32;
  if (i == 1) return s == kUserDs;
  return (s & ~3) == 0 || (s & 3) == 3;
}

bool write_plain(RegisterFile& f, Abi abi, const Register& r, std::uint64_t v) {
  switch (r.kind) {
    case Kind::General:
      f.regs.*(abi == Abi::X64 ? kGeneral64[r.index] : kGeneral32[r.index]) = v;
      return true;
    case Kind::Flags: f.regs.rflags = (f.regs.rflags & ~kFlagsWritable) | (v & kFlagsWritable); return true;
    case Kind::Selector:
      if (!selector_ok(r.index, v)) return false;
      f.regs.*kSelectors[r.index] = static_cast<std::uint16_t>(v);
      return true;
    case Kind::Base:
      if (v >= std::uint64_t{1} << 47) return false;  // ptrace: TASK_SIZE_MAX
      f.regs.*kBases[r.index] = v;
      return true;
    case Kind::Control:
      write_control(f.fp, r.index, static_cast<std::uint32_t>(v));
      mark_used(f.fp, kX87State);
      return true;
    case Kind::Mxcsr: {
      const auto mask = load<std::uint32_t>(f.fp, kMxcsrMask);
      store(f.fp, kMxcsr, static_cast<std::uint32_t>(v) & (mask != 0 ? mask : kMxcsrDefaultMask));
      mark_used(f.fp, kSseState);
      return true;
    }
    default: return true;  // orig_rax: nothing is left to be restarted by number
  }
}

}  // namespace

std::uint16_t full_tag_word(const FpState& fp) {
  const auto valid = load<std::uint8_t>(fp, kFtw);
  const unsigned top = load<std::uint16_t>(fp, kFsw) >> 11 & 7;
  unsigned word = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = 3;
    if ((valid >> physical & 1) != 0) {
      const std::size_t at = kSt + ((physical + 8 - top) & 7) * kFpSlot;
      const auto mantissa = load<std::uint64_t>(fp, at);
      const unsigned exponent = load<std::uint16_t>(fp, at + 8) & 0x7fffU;
      if (exponent == 0) {
        tag = mantissa == 0 ? 1 : 2;
      } else {
        tag = exponent != 0x7fff && mantissa >> 63 != 0 ? 0 : 2;
      }
    }
    word |= tag << (2 * physical);
  }
  return static_cast<std::uint16_t>(word);
}

unsigned register_count(Abi abi) {
  return kGeneralCount(abi) + 1 + 6 + 8 + 8 + kXmmCount(abi) + 1 + 1 + (abi == Abi::X64 ? 2U : 0U);
}

unsigned register_bytes(Abi abi, unsigned index) {
  Register r{};
  return find(abi, index, r) ? r.bytes : 0;
}

std::size_t file_bytes(Abi abi) {
  std::size_t n = 0;
  for (unsigned i = 0; i < register_count(abi); ++i) n += register_bytes(abi, i);
  return n;
}

bool read_register(const RegisterFile& f, Abi abi, unsigned index, std::string& out) {
  Register r{};
  if (!find(abi, index, r)) return false;
  std::uint64_t v = 0;
  switch (r.kind) {
    case Kind::General: v = f.regs.*(abi == Abi::X64 ? kGeneral64[r.index] : kGeneral32[r.index]); break;
    case Kind::Flags: v = f.regs.rflags; break;
    case Kind::Selector: v = f.regs.*kSelectors[r.index]; break;
    case Kind::Base: v = f.regs.*kBases[r.index]; break;
    case Kind::Control: v = read_control(f.fp, r.index); break;
    case Kind::Mxcsr: v = load<std::uint32_t>(f.fp, kMxcsr); break;
    case Kind::Orig: v = static_cast<std::uint64_t>(f.orig_rax); break;
    case Kind::St:
    case Kind::Xmm: {
      const std::size_t at = (r.kind == Kind::St ? kSt : kXmm) + r.index * kFpSlot;
      out.append(reinterpret_cast<const char*>(f.fp.area.data()) + at, r.bytes);
      return true;
    }
  }
  out.append(reinterpret_cast<const char*>(&v), r.bytes);
  return true;
}

bool write_register(RegisterFile& f, Abi abi, unsigned index, std::string_view bytes) {
  Register r{};
  if (!find(abi, index, r) || bytes.size() != r.bytes) return false;
  if (r.kind == Kind::St || r.kind == Kind::Xmm) {
    const std::size_t at = (r.kind == Kind::St ? kSt : kXmm) + r.index * kFpSlot;
    std::memcpy(f.fp.area.data() + at, bytes.data(), bytes.size());
    mark_used(f.fp, r.kind == Kind::St ? kX87State : kSseState);
    return true;
  }
  std::uint64_t v = 0;
  std::memcpy(&v, bytes.data(), bytes.size());
  return write_plain(f, abi, r, v);
}

}  // namespace hpcvmm::gdb
