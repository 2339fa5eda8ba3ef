// A page below 4 GiB that the guest does not have: where copies stand that `int $0x80` is to name.
//
// It is the first page behind the address space of an IA32 task, which a 64-bit process can have all the
// same. It is there only while a call that came from another node is made with it: natively nothing is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::deputy {

inline constexpr std::uint64_t kLowPage = kTaskSize32;

/// `bytes` of the page, aligned to sys::kLowAlign; 0: there is no room now, or the guest's ABI is x86-64.
/// Threads: any; waits for nobody.
std::uint64_t take_low(std::size_t bytes);
void give_low(std::uint64_t at, std::size_t bytes);
/// open(2) through `int $0x80`, which does not add O_LARGEFILE; the kernel's result.  In deputies of IA32
/// programs; any thread.
std::int64_t open_small(const char* path, int flags);
/// In the child of a fork: what other threads of the parent have taken is free.
void forget_low();
/// Whether [begin, end) is a mapping of the VMM down there.
bool is_low_page(std::uint64_t begin, std::uint64_t end);

}  // namespace hpcvmm::deputy
