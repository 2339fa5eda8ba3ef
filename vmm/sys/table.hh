// The rows as one constexpr array, and what is derived from each at compile time.  Users outside vmm/sys want
// row.hh's find_row(); this header is for the views that loop over all rows.
#pragma once

#include "vmm/sys/call.hh"
#include "vmm/sys/row_build.hh"

namespace hpcvmm::sys {

namespace rows {
// Local names for the row files only.
using namespace build;  // NOLINT(google-build-using-namespace)
inline constexpr Traits host = kHost, local = kLocal, vmm = kVmm, refused = kRefused, gone = kGone;  // NOLINT
// The size is spelled out: clang's deduction gives up after 256 elements.
inline constexpr std::array<Row, kCallCount> kAll{
#define ROW(id, nr32, nr64, traits, ...) row(Call::id, #id, nr32, nr64, traits __VA_OPT__(, ) __VA_ARGS__),
#define ROW_AS(id, name, nr32, nr64, traits, ...) \
  row(Call::id, #name, nr32, nr64, traits __VA_OPT__(, ) __VA_ARGS__),
#include "vmm/sys/rows.inc"
#undef ROW
#undef ROW_AS
};
}  // namespace rows

inline constexpr const auto& kRows = rows::kAll;

/// True for kinds whose word is an address the kernel reads or writes through, or a range it acts on.
constexpr bool is_pointer(ArgKind k) { return k >= ArgKind::Address; }

/// True for kinds that IA32 callers pass as a signed 32-bit word.
constexpr bool is_signed(ArgKind k) {
  switch (k) {
    case ArgKind::Int:
    case ArgKind::Long:
    case ArgKind::Fd:
    case ArgKind::DirFd:
    case ArgKind::Pid:
    case ArgKind::Signal: return true;
    default: return false;
  }
}

/// What pass_through() needs to know of a row in one cache line.
struct Shape {
  std::uint8_t count = 0;               // arguments
  std::uint8_t pointers = 0;            // bit per argument
  std::uint8_t fds = 0;                 // bit per argument: Fd or DirFd
  std::uint8_t sign = 0;                // bit per argument: sign-extended from IA32
  std::uint8_t wide = 0;                // bit per argument: two registers on IA32
  bool deep = false;                    // addresses inside memory: deep.cc
  std::array<std::uint8_t, 6> reg32{};  // first IA32 register of each argument
};

constexpr bool is_deep(const Row& r) {
  switch (r.call) {
    case Call::mq_notify:
    case Call::futex_waitv:
    case Call::futex_requeue:
    case Call::setxattrat:
    case Call::getxattrat:
    case Call::keyctl: return true;
    default: break;
  }
  for (const Arg& a : r.args) {
    switch (a.kind) {
      case ArgKind::InIovec:
      case ArgKind::OutIovec:
      case ArgKind::InMsghdr:
      case ArgKind::OutMsghdr:
      case ArgKind::InMmsghdr:
      case ArgKind::OutMmsghdr:
      case ArgKind::IoctlArg:
      case ArgKind::FcntlArg:
      case ArgKind::SockOptVal: return true;
      default: break;
    }
  }
  return false;
}

constexpr Shape shape_from(const Row& r) {
  Shape s;
  unsigned reg = 0;
  for (unsigned i = 0; i < r.args.size(); ++i) {
    const ArgKind k = r.args[i].kind;
    if (k == ArgKind::None) break;
    const auto bit = static_cast<std::uint8_t>(1U << i);
    s.count = static_cast<std::uint8_t>(i + 1);
    s.reg32[i] = static_cast<std::uint8_t>(reg);
    // Whether these two are pointers, only their request tells: deep.cc.
    if (is_pointer(k) && k != ArgKind::IoctlArg && k != ArgKind::FcntlArg) s.pointers |= bit;
    if (k == ArgKind::Fd || k == ArgKind::DirFd) s.fds |= bit;
    if (is_signed(k)) s.sign |= bit;
    if (k == ArgKind::Off64) s.wide |= bit;
    reg += k == ArgKind::Off64 ? 2 : 1;
  }
  s.deep = is_deep(r);
  return s;
}

/// Any thread.
const Shape& shape_of(const Row& row);

/// Value of logical argument `i` as the 64-bit call would take it: IA32 words are extended or joined.
inline std::uint64_t arg_value(const Row& row, Abi abi, const Args& args, unsigned i) {
  if (abi == Abi::X64) return args[i];
  const Shape& s = shape_of(row);
  const unsigned reg = s.reg32[i];
  const std::uint64_t low = args[reg] & 0xffff'ffffU;
  if ((s.wide >> i & 1U) != 0) return low | (reg + 1 < args.size() ? args[reg + 1] << 32 : 0);
  if ((s.sign >> i & 1U) != 0) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(low)));
  }
  return low;
}

}  // namespace hpcvmm::sys
