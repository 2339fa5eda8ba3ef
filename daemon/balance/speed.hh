// The speed of this node's CPUs, comparable between generations.
#pragma once

#include <string>

namespace hpcvmm::daemon {

/// CPU seconds of a reference CPU (1: one core of the machine that the constant in speed.cc was measured on)
/// per CPU second here, for a mix of integer, memory and floating-point work.  Takes about 40 ms of CPU time;
/// waiting for a CPU does not count, and of several rounds the fastest does.
double measure_speed();

/// As noted in `file` for this CPU model, else measured and noted there.
double known_speed(const std::string& file);

}  // namespace hpcvmm::daemon
