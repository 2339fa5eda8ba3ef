// One row per Linux system call, both ABIs.  Everything else -- dispatch, pointer checks, traces, the printed
// support table, remote forwarding -- is a view of the rows.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "hpcvmm/base/cpu.hh"

namespace hpcvmm::sys {

/// What one argument is.  It decides three things: how the pointer check treats it, how a trace prints it,
/// and how a forwarder marshals it.
enum class ArgKind : std::uint8_t {
  None,
  // plain words
  Int,    // signed 32 bit
  UInt,   // unsigned 32 bit
  Long,   // signed word
  Size,   // unsigned word
  Hex,    // printed in hex, never dereferenced
  Fd,     // descriptor
  DirFd,  // descriptor or AT_FDCWD
  Mode,   // octal
  Pid,
  Uid,
  Uid16,    // 16-bit id of the oldest IA32 calls
  Signal,   // printed SIGxxx
  Off64,    // IA32: two registers (lo, hi); x86-64: one
  Flags,    // symbolic; `fmt` names the set
  Address,  // an address that the kernel does not dereference as data (mmap, munmap, brk...)
  // pointers
  Path,    // NUL-terminated, in
  String,  // NUL-terminated, in (not a path)
  InBuf,   // `len_arg` bytes, in
  OutBuf,  // `len_arg` bytes capacity, the result says how many were written
  InOutBuf,
  InStruct,   // size32 / size64 bytes, in
  OutStruct,  // size32 / size64 bytes, out
  InOutStruct,
  InIovec,    // array of iovec, count in `len_arg`; the buffers are in
  OutIovec,   // same, the buffers are out
  InMsghdr,   // msghdr, in (sendmsg)
  OutMsghdr,  // msghdr, out (recvmsg)
  InMmsghdr,  // array of mmsghdr, count in `len_arg`
  OutMmsghdr,
  InSockaddr,   // `len_arg` bytes, in
  OutSockaddr,  // capacity in *len_arg (a pointer argument), out
  InOutLen,     // socklen_t*, in/out
  StringArray,  // NULL-terminated array of strings (argv, envp)
  Futex,        // 4-byte word
  IoctlArg,     // depends on the request: sub-table in ioctl.cc
  FcntlArg,     // depends on the command
  SockOptVal,   // depends on level and name; `len_arg`
  Opaque,       // a pointer whose length nobody knows here: only kept out of the VMM's zone
};

struct Arg {
  ArgKind kind = ArgKind::None;
  const char* name = "";
  std::int8_t len_arg = -1;              // index of the argument that holds the length / count
  std::uint16_t size32 = 0, size64 = 0;  // bytes, for *Struct
  const char* fmt = "";                  // set of symbols for Flags, or struct name for traces
};

/// Who executes the call.
enum class Runs : std::uint8_t {
  Host,   // issued unchanged (after pointer checks) by the deputy: the home kernel does it
  Vmm,    // a function of the deputy does it
  Local,  // like Host, but its answer is right on whichever node the process is (time, own ids, scheduling)
};
/// What the call does to the process's freedom to move between nodes.
enum class Mobility : std::uint8_t {
  Free,  // nothing
  Home,  // the call goes home; the process may move
  Pins,  // afterwards something ties the process to its node until it is undone (`cantmove`)
};
enum class Support : std::uint8_t { Full, Partial, None };
/// How Linux restarts the call after a signal (kernel-internal ERESTART* code).
enum class Restart : std::uint8_t { Never, Sys, NoHand, NoIntr, Block };

/// Index of a row: one enumerator per call (generated from rows.inc), e.g. Call::read.
enum class Call : std::uint16_t;

struct Row {
  Call call;
  const char* name;
  std::int16_t nr32, nr64;  // -1: absent in that ABI
  std::array<Arg, 6> args;
  Runs runs;
  Mobility mobility;
  Support support;
  Restart restart;
  /// IA32 only: the 64-bit call of number twin_nr does exactly the same with zero-extended words (`Int`-like
  /// ones sign-extended), so the deputy issues `syscall` (0.2 us) instead of `int $0x80` (4.7 us).
  bool twin;
  const char* note;  // what is missing or special; printed by `hpc-vmm syscalls`
  std::int16_t
      twin_nr;  // number of the twin; -1: none (it is nr64 but for rows such as getuid32, whose nr64 is -1)
};

/// What goes back in rax/eax: a value or a guest errno.  A host Error cannot become one by accident.
class [[nodiscard]] SysRet {
 public:
  static constexpr SysRet ok(std::uint64_t v = 0) { return SysRet(static_cast<std::int64_t>(v)); }
  static constexpr SysRet fail(int e) { return SysRet(-static_cast<std::int64_t>(e)); }
  /// A raw kernel result: >= -4095 and < 0 is an errno.
  static constexpr SysRet raw(std::int64_t v) { return SysRet(v); }
  /// A signal is pending and Linux would restart the call: deliver it with the guest's RIP at the call
  /// instruction.
  static constexpr SysRet restart() { return SysRet(kRestart); }
  [[nodiscard]] constexpr std::int64_t value() const { return v_; }
  [[nodiscard]] constexpr bool is_restart() const { return v_ == kRestart; }
  [[nodiscard]] constexpr bool is_error() const { return v_ < 0 && v_ >= -4095; }

 private:
  static constexpr std::int64_t kRestart = INT64_MIN;
  explicit constexpr SysRet(std::int64_t v) : v_(v) {}
  std::int64_t v_;
};

/// The call's arguments as 64-bit words, already cut to the ABI's width (IA32: zero-extended).
using Args = std::array<std::uint64_t, 6>;

/// Finds the row, or nullptr for an unknown number (the guest gets ENOSYS).  Any thread.
/// Source: arch/x86/entry/syscalls/syscall_{32,64}.tbl; only the low 32 bits of rax count, as on Linux.
const Row* find_row(Abi abi, std::uint32_t nr);
const Row* find_row(std::string_view name);
const Row& row_of(Call call);

}  // namespace hpcvmm::sys
