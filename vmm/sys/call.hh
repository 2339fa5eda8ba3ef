// The enumerators of Call, one per row.
#pragma once

#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

// A name that is a C++ keyword has a trailing underscore (break_); an IA32 call whose words mean something
// else than those of the 64-bit call of the same name is called old_... (old_mmap, old_select).
enum class Call : std::uint16_t {
#define ROW(id, ...) id,
#define ROW_AS(id, ...) id,
#include "vmm/sys/rows.inc"
#undef ROW
#undef ROW_AS
};

/// How many rows there are; Call values are 0 ... kCallCount - 1.
inline constexpr std::size_t kCallCount = 0
#define ROW(...) +1
#define ROW_AS(...) +1
#include "vmm/sys/rows.inc"
#undef ROW
#undef ROW_AS
    ;

}  // namespace hpcvmm::sys
