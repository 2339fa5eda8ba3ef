// The parts of a trace line.  Internal to vmm/sys.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "vmm/sys/host_gate.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::sys {

void put_dec(std::string& out, std::int64_t v);
void put_udec(std::string& out, std::uint64_t v);
void put_hex(std::string& out, std::uint64_t v);    // 0x1f; 0 is "0"
void put_octal(std::string& out, std::uint64_t v);  // 0644; 0 is "000"
void put_signal(std::string& out, std::uint64_t nr);
/// "..." with strace's escapes; `cut`: there was more.
void put_quoted(std::string& out, std::string_view bytes, bool cut, bool all_hex = false);

/// A symbol set of the rows (Arg::fmt).  False: no such set.
bool put_symbols(std::string& out, std::string_view set, std::uint64_t value);

/// Guest bytes at a known layout.  Words are those of the caller's ABI.
struct Block {
  alignas(8) std::array<std::byte, 512> bytes{};
  bool is32 = false;

  template <class T> [[nodiscard]] T at(std::size_t offset) const {
    T v{};
    if (offset + sizeof v <= bytes.size()) std::memcpy(&v, bytes.data() + offset, sizeof v);
    return v;
  }
  [[nodiscard]] std::uint64_t word(std::size_t index) const {
    return is32 ? at<std::uint32_t>(index * 4) : at<std::uint64_t>(index * 8);
  }
  [[nodiscard]] std::int64_t sword(std::size_t index) const {
    return is32 ? at<std::int32_t>(index * 4) : at<std::int64_t>(index * 8);
  }
};

/// One call being printed.
struct Printer {
  std::string& out;
  const Row& row;
  Abi abi;
  const Args& args;
  const HostGate& gate;
  bool exiting = false;
  bool failed = false;
  std::int64_t result = 0;

  [[nodiscard]] std::uint64_t arg(unsigned i) const { return arg_value(row, abi, args, i); }
  [[nodiscard]] bool is32() const { return abi == Abi::Ia32; }
  [[nodiscard]] bool read(Block& b, std::uint64_t guest, std::size_t bytes) const;
  [[nodiscard]] std::size_t size_of(const Arg& a) const { return is32() ? a.size32 : a.size64; }

  void pointer(std::uint64_t guest) const;  // 0x..., NULL
  void string(std::uint64_t guest, std::size_t most) const;
  void buffer(std::uint64_t guest, std::uint64_t bytes, bool all_hex = false) const;
  void struct_at(const Arg& a, std::uint64_t guest, std::size_t bytes) const;
  void sockaddr_at(std::uint64_t guest, std::uint64_t bytes) const;
  void iovec_at(std::uint64_t guest, std::uint64_t count, std::int64_t limit) const;
  void msghdr_at(std::uint64_t guest, std::int64_t limit) const;
  void sigset(std::uint64_t mask) const;
  void array_at(const Arg& a, std::uint64_t guest, std::uint64_t count) const;
};

/// Prints a struct named `kind` (Arg::fmt) from `b`.  False: nobody knows it.
bool put_struct(const Printer& p, std::string_view kind, const Block& b, std::size_t bytes);

/// The last argument of ioctl.
void put_ioctl_arg(const Printer& p);

}  // namespace hpcvmm::sys
