#include "vmm/sys/low.hh"

#include "vmm/sys/marshal.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kLowAlign - 1) & ~std::size_t{kLowAlign - 1};
}

/// A copy and the place below 4 GiB that stands for it during the call.
struct Moved {
  void* copy = nullptr;
  std::size_t at = 0, bytes = 0;
  bool out = false;
};

/// With the guest's own memory.
SysRet unmoved(const Passing& p) { return p.gate.call32(static_cast<std::uint64_t>(p.row.nr32), p.args); }

}  // namespace

SysRet issue_low(const Passing& p) {
  if (p.gate.has_copies == nullptr || !p.gate.has_copies() || !may_marshal(p.row, Abi::Ia32))
    return unmoved(p);
  const Plan plan = marshal_plan(p.row, Abi::Ia32, p.args, p.gate.copy_in);
  std::size_t total = 0;
  for (const Area& a : plan.all()) {
    // What an argument does not name itself is behind what one names: not of these calls.
    if (p.args[shape_of(p.row).reg32[a.arg]] != a.guest) return unmoved(p);
    const std::uint64_t text = a.text ? p.gate.staged(a.arg, a.guest, 0) : 0;
    if (!a.text) total += aligned(a.bytes);
    if (text != 0) total += aligned(std::strlen(std::bit_cast<const char*>(text)) + 1);
  }
  // Before anything that is written is asked for: whoever has asked for a copy uses it.
  const LowRoom room(p.gate, total);
  if (room.at() == 0) return unmoved(p);
  std::array<Moved, kMaxAreas> moved{};
  std::array<unsigned, kMaxAreas> reg{};
  std::size_t count = 0;
  std::size_t at = 0;
  for (const Area& a : plan.all()) {
    const std::uint64_t copy = p.gate.staged(a.arg, a.guest, a.text ? 0 : a.bytes);
    if (copy == 0) continue;
    const std::size_t bytes = a.text ? std::strlen(std::bit_cast<const char*>(copy)) + 1 : a.bytes;
    reg[count] = shape_of(p.row).reg32[a.arg];
    moved[count++] = {std::bit_cast<void*>(copy), at, bytes, a.out};
    at += aligned(bytes);
  }
  Args args = p.args;
  for (std::size_t i = 0; i < count; ++i) {
    args[reg[i]] = room.at() + moved[i].at;
    std::memcpy(std::bit_cast<void*>(args[reg[i]]), moved[i].copy, moved[i].bytes);
  }
  const SysRet rc = p.gate.call32(static_cast<std::uint64_t>(p.row.nr32), args);
  for (std::size_t i = 0; i < count; ++i)
    if (moved[i].out) std::memcpy(moved[i].copy, std::bit_cast<void*>(args[reg[i]]), moved[i].bytes);
  return rc;
}

SysRet list_low(const Passing& p) {
  const std::uint64_t want = p.arg(2);
  const bool copies = p.gate.has_copies != nullptr && p.gate.has_copies();
  const LowRoom room(p.gate, copies ? std::min<std::uint64_t>(want, kLowPiece) : 0);
  const std::uint64_t copy = room.at() != 0 ? p.gate.staged(1, p.arg(1), want) : 0;
  if (copy == 0) return unmoved(p);
  std::uint64_t have = 0;
  while (have < want) {
    const std::uint64_t piece = std::min<std::uint64_t>(want - have, kLowPiece);
    const SysRet rc =
        p.gate.call32(static_cast<std::uint64_t>(p.row.nr32), {p.args[0], room.at(), piece, 0, 0, 0});
    // An error behind entries, of which "the next one does not fit" is one, is the next call's.
    if (rc.is_restart() || rc.is_error()) return have != 0 ? SysRet::ok(have) : rc;
    const auto got = static_cast<std::uint64_t>(rc.value());
    if (got == 0) break;
    std::memcpy(std::bit_cast<char*>(copy) + have, std::bit_cast<void*>(room.at()), got);
    have += got;
  }
  return SysRet::ok(have);
}

}  // namespace hpcvmm::sys
