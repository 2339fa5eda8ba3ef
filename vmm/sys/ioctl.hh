// What is known of ioctl requests: one table for the pointer checks and for traces.
#pragma once

#include <cstdint>

namespace hpcvmm::sys {

enum class IoctlRule : std::uint8_t {
  Value,   // the argument is a number (or absent)
  Fd,      // the argument is a descriptor
  Flat,    // a pointer to `bytes` bytes without addresses in them
  Inner,   // a pointer to `bytes` bytes with one address (u64 in the x86-64 layout) at `at`: the struct is
           // copied
  Refuse,  // addresses in places nobody checks: ENOTTY
};

struct IoctlRow {
  std::uint32_t request;
  const char* name;  // as in the kernel's headers, for traces; "" when it stands for a range
  IoctlRule rule = IoctlRule::Flat;
  std::uint16_t bytes = 0;
  std::uint16_t at = 0;
  std::uint32_t last = 0;  // end of a range of requests (inclusive); 0: one request
};

/// The rule for `request`.  Unknown ones: by the size in their number, unless their family is one whose
/// structures are known to carry addresses.  Any thread.
IoctlRow ioctl_rule(std::uint32_t request);

/// Name of a request for traces, or nullptr.
const char* ioctl_name(std::uint32_t request);

}  // namespace hpcvmm::sys
