// Eal: DPDK's environment, of which a process has one, started by the first driver and never ended (DPDK
// cannot be started twice, and a process that cleans it up may crash doing so; the kernel frees what it
// holds).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "net/driver/dpdk/config.hh"

namespace hpcvmm::net::dpdk {

/// Starts DPDK once per process, which takes 0.12 s; later calls only check that what they need is there. The
/// calling thread keeps its CPU affinity.
/// Errors: EINVAL a bad file_prefix; ENOTSUP a PCI port after the start; EIO DPDK refused, `why` has what it
/// said. Threads: any.
Status start_eal(const DriverConfig& config, std::string& why);

/// DPDK's last messages, for an error text; empties them.
std::string take_eal_messages();

/// Gives the calling thread a number of its own in DPDK, if it has none: mbufs then come from a cache of its
/// own (7 ns instead of 178).  Given back when the thread ends.
void register_thread();

/// Runs `work` on DPDK's interrupt thread and waits: there it cannot meet DPDK's own handlers, which change
/// ports. Call from any other thread.
void on_interrupt_thread(const std::function<void()>& work);

}  // namespace hpcvmm::net::dpdk
