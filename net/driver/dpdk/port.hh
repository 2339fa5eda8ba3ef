// Port: one DPDK ethdev port with one receive and one transmit queue, and what its kind needs besides: a
// descriptor to sleep on, a doorbell, reconnecting.  Internal to the driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "net/driver/clock.hh"
#include "net/driver/dpdk/bell.hh"
#include "net/driver/dpdk/burst_lock.hh"
#include "net/driver/dpdk/config.hh"
#include "net/driver/dpdk/frame.hh"

struct rte_mbuf;
struct rte_mempool;

namespace hpcvmm::net::dpdk {

/// What a port takes, known before it is made: the mbufs are cut to it.
struct PortPlan {
  PortConfig config;               ///< with what was left out filled in
  std::uint32_t frame_bytes = 0;   ///< longest frame, Ethernet header included
  std::uint32_t buffer_bytes = 0;  ///< room an mbuf must have behind its headroom
  std::uint32_t mtu = 0;           ///< to be set on a card; 0: leave alone
};

/// Fills in what a port's configuration leaves out and finds what would fail later.
/// Errors: EINVAL, ENODEV, EPERM, with a sentence and a remedy in `why`; `warn` hears what is merely odd.
Result<PortPlan> plan_port(const PortConfig& config, const std::function<void(std::string_view)>& warn,
                           std::string& why);

struct PortCounters {
  std::uint64_t ups = 0;         ///< the link came up
  std::uint64_t reconnects = 0;  ///< tries of a memif client
  std::uint64_t mismatches = 0;  ///< looks at a link whose other end has buffers of another size
};

class Port {
 public:
  /// Makes and starts the port; a net_memif client whose server is not there yet is started later, by tend().
  /// Errors: as DPDK says; `why` has its words.  Threads: the one that will use the port.
  static Result<std::unique_ptr<Port>> create(const PortPlan& plan, rte_mempool* receive_pool,
                                              std::string& why);
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  ~Port();

  /// At most `bufs.size()` frames.  0 while the link is down.
  std::uint16_t receive(std::span<rte_mbuf*> bufs);
  /// The first ones are DPDK's, which frees them; the rest stays the caller's.
  std::uint16_t send(std::span<rte_mbuf*> bufs);
  [[nodiscard]] bool is_up() const { return is_up_; }

  /// Looks after the link.  Returns when to be called again (kNever: when something wakes us).
  Nanos tend(Nanos now);

  /// Descriptors that say "look at me".
  [[nodiscard]] const std::vector<int>& wait_fds() const { return wait_fds_; }
  void arm();
  void disarm();

  [[nodiscard]] const PortConfig& config() const { return config_; }
  [[nodiscard]] std::uint16_t id() const { return id_; }
  [[nodiscard]] const Mac& mac() const { return mac_; }
  [[nodiscard]] const PortCounters& counters() const { return counters_; }

 private:
  Port(PortConfig config, rte_mempool* pool) : config_(std::move(config)), pool_(pool) {}
  Status probe(std::string& why);
  Status set_up(const PortPlan& plan, std::string& why);
  Status start(std::string& why);
  void find_wait_fds(const std::vector<int>& before);
  Nanos tend_memif(Nanos now);
  bool came_up();
  void reconnect();

  PortConfig config_;
  rte_mempool* pool_;
  std::uint16_t id_ = 0;
  bool is_probed_ = false;
  bool is_up_ = false;
  bool has_interrupt_ = false;
  Mac mac_{};
  std::vector<int> wait_fds_;
  PortCounters counters_;

  // net_memif only.
  bool is_memif_ = false;
  bool is_client_ = false;
  std::optional<Bell> bell_;
  BurstLock lock_;
  std::atomic<bool> is_started_{false};
  std::atomic<bool> reconnecting_{false};
  std::uint32_t seen_beat_ = 0;
  Nanos down_since_ = 0;
  Nanos next_try_ = 0;
};

}  // namespace hpcvmm::net::dpdk
