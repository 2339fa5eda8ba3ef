// Waiter: the adaptive sleep of a loop over a driver and other descriptors.  While there is work it costs
// nothing; without work it polls for a short while, and then blocks in the kernel.  How long it polls follows
// from how long it had to wait lately (as KVM's halt polling does): where answers come at once, polling saves
// the wake-up; where they do not, it only takes CPU time.
//
//     for (;;) {
//       const Nanos deadline = transport.poll();            // and the loop's own rings
//       if (something was done) { waiter.busy(); continue; }
//       if (!waiter.idle()) continue;                        // spun
//       if (!rings_prepare_sleep()) continue;                // the loop's own sources must not be missed
//       for (const auto tag : waiter.block(deadline)) ...    // tags of add() that are readable
//       rings_wake();
//     }
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/clock.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net {

struct WaiterTuning {
  std::uint32_t spin_polls = 2000;       ///< empty polls before it blocks, at most...
  Nanos spin_time = 50 * kMicrosecond;   ///< ...or this long, whichever comes first
  Nanos least_spin = 10 * kMicrosecond;  ///< where it begins; 0 after waits that no spin would have spared
};

struct WaiterCounters {
  std::uint64_t spins = 0;
  std::uint64_t blocks = 0;
};

class Waiter {
 public:
  /// `driver` and `clock` outlive the waiter.  EMFILE, ENOMEM...: no epoll descriptor.
  static Result<Waiter> create(Driver& driver, const Clock& clock, WaiterTuning tuning = {});

  /// Readability of `fd` ends block() too and is reported as `tag`.  The caller empties (reads) it.
  /// Errors: those of epoll_ctl.
  Status add(int fd, std::uint64_t tag);
  /// Before closing `fd`.
  Status remove(int fd);

  /// Something was done in this pass: the spin begins anew.
  void busy() { empty_polls_ = 0; }
  /// Whether polling is worth it at all: not where others want the CPU it takes.  Yes, at first.
  void allow_spin(bool may) { may_spin_ = may; }
  /// Nothing was done in this pass.  False: poll again; true: block().
  bool idle();
  /// Blocks until the driver may have something, an added descriptor is readable, or `deadline` (of the
  /// clock; kNever: none).  The tags are valid until the next call; none for the driver.
  std::span<const std::uint64_t> block(Nanos deadline);

  [[nodiscard]] const WaiterCounters& counters() const { return counters_; }
  /// How long it would poll now.
  [[nodiscard]] Nanos spin_time() const { return spin_; }

 private:
  Waiter(Driver& driver, const Clock& clock, WaiterTuning tuning, UniqueFd epoll)
      : driver_(&driver),
        clock_(&clock),
        tuning_(tuning),
        epoll_(std::move(epoll)),
        spin_(tuning.least_spin) {}

  /// Something came `waited` after the last work was done.
  void learn(Nanos waited);

  Driver* driver_;
  const Clock* clock_;
  WaiterTuning tuning_;
  UniqueFd epoll_;
  Nanos spin_;
  bool may_spin_ = true;
  std::uint32_t empty_polls_ = 0;
  Nanos empty_since_ = 0;
  std::vector<std::uint64_t> tags_;
  WaiterCounters counters_;
};

}  // namespace hpcvmm::net
