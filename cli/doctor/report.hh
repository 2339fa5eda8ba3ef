// The two forms of a doctor's report.  Pure: facts in, text out.
#pragma once

#include <string>

#include "vmm/probe/facts.hh"

namespace hpcvmm::cli {

/// Aligned text for people; `colour` adds ANSI colours to the states.
std::string report_text(const probe::HostFacts& facts, bool colour);

/// One JSON object, for scripts.  Names in it are stable: keys are added, never renamed.
std::string report_json(const probe::HostFacts& facts);

}  // namespace hpcvmm::cli
