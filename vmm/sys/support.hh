// The support table that `hpc-vmm syscalls` prints: the rows as text and as JSON.
#pragma once

#include <string>

#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

/// Which numbers to print.
enum class Column : std::uint8_t { Both, X64, Ia32 };

/// One line per call, aligned, with a heading and a summary at the end.
std::string support_text(Column which);

/// {"calls":[{"name":"read","nr_x86_64":0,"nr_ia32":3,"runs":"host","support":"full","mobility":"home",
/// "restart":"sys","twin":true,"args":[{"name":"fd","kind":"fd"}...],"note":""}...]}; an absent number is
/// null.
std::string support_json(Column which);

const char* name_of(Runs v);
const char* name_of(Support v);
const char* name_of(Mobility v);
const char* name_of(Restart v);
const char* name_of(ArgKind v);

}  // namespace hpcvmm::sys
