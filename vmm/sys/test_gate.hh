// Gates for the tests of this folder: the real kernel, and one that only remembers.
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "hpcvmm/base/layout.hh"
#include "vmm/sys/host_gate.hh"

namespace hpcvmm::sys::test {

inline std::uint64_t word(const void* p) { return std::bit_cast<std::uint64_t>(p); }

inline SysRet real64(std::uint64_t nr, const Args& a) {
  std::int64_t r = 0;
  register std::uint64_t r10 asm("r10") = a[3];
  register std::uint64_t r8 asm("r8") = a[4];
  register std::uint64_t r9 asm("r9") = a[5];
  asm volatile("syscall"
               : "=a"(r)
               : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return SysRet::raw(r);
}

inline SysRet real32(std::uint64_t nr, const Args& a) {
  // ebp is an argument: everything comes through one array.
  const std::uint64_t in[7] = {nr, a[0], a[1], a[2], a[3], a[4], a[5]};
  std::int64_t r = 0;
  asm volatile(
      "push %%rbp\n push %%rbx\n"
      "mov %[in], %%rax\n"
      "mov 8(%%rax), %%rbx\n mov 16(%%rax), %%rcx\n mov 24(%%rax), %%rdx\n"
      "mov 32(%%rax), %%rsi\n mov 40(%%rax), %%rdi\n mov 48(%%rax), %%rbp\n"
      "mov (%%rax), %%rax\n"
      "int $0x80\n"
      "pop %%rbx\n pop %%rbp\n"
      : "=&a"(r)
      : [in] "D"(in)
      : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
  return SysRet::raw(static_cast<std::int32_t>(r));
}

inline bool self_copy(bool in, std::uint64_t guest, void* host, std::size_t bytes) {
  if (touches_zone(guest, bytes)) return false;
  iovec local{host, bytes};
  iovec remote{std::bit_cast<void*>(guest), bytes};
  const ssize_t n = in ? ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0)
                       : ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0);
  return n == static_cast<ssize_t>(bytes);
}

inline bool copy_in(void* to, std::uint64_t guest, std::size_t bytes) {
  return self_copy(true, guest, to, bytes);
}
inline bool copy_out(std::uint64_t guest, const void* from, std::size_t bytes) {
  return self_copy(false, guest, const_cast<void*>(from), bytes);
}

inline constexpr HostGate kReal{real64, real32, copy_in, copy_out, nullptr};

/// What the last call through kFake was.
struct Issued {
  int count = 0;
  Abi abi = Abi::X64;
  std::uint64_t nr = 0;
  Args args{};
};
inline Issued g_issued;  // tests run on one thread

inline SysRet fake64(std::uint64_t nr, const Args& a) {
  g_issued = {g_issued.count + 1, Abi::X64, nr, a};
  return SysRet::ok(0);
}
inline SysRet fake32(std::uint64_t nr, const Args& a) {
  g_issued = {g_issued.count + 1, Abi::Ia32, nr, a};
  return SysRet::ok(0);
}
inline constexpr int kHiddenFd = 777;
inline bool hides_fd(std::int32_t fd) { return fd == kHiddenFd; }
inline constexpr HostGate kFake{fake64, fake32, copy_in, copy_out, hides_fd};

}  // namespace hpcvmm::sys::test
