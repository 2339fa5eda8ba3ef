// DpdkDriver: datagrams over DPDK ports.  Includes nothing of DPDK.
#pragma once

#include <memory>
#include <string>

#include "hpcvmm/base/result.hh"
#include "net/driver/clock.hh"
#include "net/driver/dpdk/config.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net::dpdk {

/// Starts DPDK if this is the first driver of the process, and the ports.  A net_memif port whose other end
/// is not there yet is no error: it connects when that appears, and again when that has restarted. `clock`
/// outlives the driver. Errors: EINVAL, ENODEV, EPERM, EADDRINUSE, ENOMEM, EIO...; `why` gets a sentence that
/// names the thing and the remedy. Threads: the driver belongs to the thread that calls this, or, with no
/// call before, to one other thread.
Result<std::unique_ptr<Driver>> make_dpdk_driver(const DriverConfig& config, const Clock& clock,
                                                 std::string& why);

}  // namespace hpcvmm::net::dpdk
