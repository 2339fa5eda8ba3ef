// Sets of CPUs as the kernel writes and reads them.  Pure.
#pragma once

#include <string>
#include <string_view>

#include "hpcvmm/wire/view.hh"

namespace hpcvmm::view {

using wire::view::CpuSet;

/// "0-3,5"; empty: none.  Source: bitmap_print_list in Linux' lib/bitmap-str.c.
std::string cpu_list(const CpuSet& set);
/// Reads that.  False: it is no such list, or names a CPU beyond kMostCpus.
bool parse_cpu_list(std::string_view text, CpuSet& set);
/// "ff" or "00000001,ffffffff": groups of 32 bits, highest first, for `bits` CPUs (at least 1).
std::string cpu_mask(const CpuSet& set, unsigned bits);

}  // namespace hpcvmm::view
