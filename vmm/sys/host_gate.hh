// How the system-call layer reaches the host kernel and guest memory.  Handed in, so that vmm/sys knows
// neither KVM nor signals, and its tests run anywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

struct HostGate {
  /// Issues the 64-bit call `nr`.  Returns the raw kernel result, or SysRet::restart() when a signal for the
  /// guest is pending and the call has had no effect.  Blocks as long as the call does.
  SysRet (*call64)(std::uint64_t nr, const Args& args);
  /// Issues the IA32 call `nr` with `int $0x80`.  Same results.
  SysRet (*call32)(std::uint64_t nr, const Args& args);
  /// Copies guest memory in / out.  False: the guest address is bad (EFAULT) or in the VMM's zone; never
  /// crashes.
  bool (*copy_in)(void* to, std::uint64_t guest, std::size_t bytes);
  bool (*copy_out)(std::uint64_t guest, const void* from, std::size_t bytes);
  /// True for a descriptor of the VMM's own: for the guest it is not there (EBADF).  nullptr: there are none.
  bool (*hides_fd)(std::int32_t fd) = nullptr;
  /// The address of a copy that stands for `bytes` of guest memory where argument `arg` leads (0: a text);
  /// 0: there is none.  nullptr: never.  Who is given a copy lets the kernel use it: what the call writes is
  /// then taken from there.  Source: marshal.hh.
  std::uint64_t (*staged)(unsigned arg, std::uint64_t guest, std::uint64_t bytes) = nullptr;
  /// Whether there are copies at all.
  bool (*has_copies)() = nullptr;
  /// Memory below 4 GiB that no IA32 program can have, for `int $0x80` to name: the caller's until it is
  /// given back.  0: there is no room.  nullptr: never.
  std::uint64_t (*take_low)(std::size_t bytes) = nullptr;
  void (*give_low)(std::uint64_t at, std::size_t bytes) = nullptr;
};

}  // namespace hpcvmm::sys
