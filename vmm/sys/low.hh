// IA32 calls without a 64-bit twin whose data is in copies: `int $0x80` names 32-bit addresses, so the copies
// are copied once more, to where it can name them.  Internal to vmm/sys.
#pragma once

#include <algorithm>
#include <cstring>

#include "vmm/sys/deep.hh"

namespace hpcvmm::sys {

/// Room below 4 GiB while it lives.
class LowRoom {
 public:
  LowRoom(const HostGate& gate, std::size_t bytes)
      : gate_(gate), bytes_(bytes), at_(gate.take_low != nullptr && bytes != 0 ? gate.take_low(bytes) : 0) {}
  LowRoom(const LowRoom&) = delete;
  LowRoom& operator=(const LowRoom&) = delete;
  ~LowRoom() {
    if (at_ != 0) gate_.give_low(at_, bytes_);
  }
  [[nodiscard]] std::uint64_t at() const { return at_; }

 private:
  const HostGate& gate_;
  const std::size_t bytes_;
  const std::uint64_t at_;
};

/// Issues the IA32 call with what there are copies of in low memory; without copies or room for them, as it
/// is: both are right.
SysRet issue_low(const Passing& p);

/// getdents64: the kernel fills the caller's buffer through a smaller one below 4 GiB.  Only there are the
/// positions of a file system with hashed ones those of an IA32 program.
SysRet list_low(const Passing& p);

}  // namespace hpcvmm::sys
