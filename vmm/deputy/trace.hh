// `launch --trace`: the table's formatter, written to the trace descriptor line by line.
#pragma once

#include <csignal>

#include "vmm/deputy/dispatch.hh"

namespace hpcvmm::deputy {

bool tracing(const Task& t);
/// A call's line is written when it returns, in one write(2), so that lines of threads and processes do not
/// mix.  What the guest gave through pointers is therefore read after the call.
void trace_call(const CallContext& c, sys::SysRet result);
/// The line of a call that will not return ("= ?"), before it is made.
void trace_departure(const CallContext& c);
void trace_signal(const Task& t, const siginfo_t& info);

}  // namespace hpcvmm::deputy
