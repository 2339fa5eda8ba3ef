// The driver's class.  Internal.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/clock.hh"
#include "net/driver/dpdk/config.hh"
#include "net/driver/dpdk/frame.hh"
#include "net/driver/dpdk/neighbours.hh"
#include "net/driver/dpdk/pool.hh"
#include "net/driver/dpdk/port.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net::dpdk {

/// What became of packets, by kind; more_counters() shows them.
struct Drops {
  std::array<std::uint64_t, kRefusals> refused{};
  std::uint64_t chained = 0;  ///< a frame longer than our buffers
  std::uint64_t bad_arp = 0;
  std::uint64_t no_route = 0;    ///< no port leads there
  std::uint64_t unresolved = 0;  ///< nobody answered ARP
  std::uint64_t link_down = 0;
  std::uint64_t stuck = 0;  ///< the other end has not taken anything for kStuck
  std::uint64_t too_long = 0;
  std::uint64_t arp_asked = 0;
  std::uint64_t arp_answered = 0;
};

class DpdkDriver final : public Driver {
 public:
  DpdkDriver(DriverConfig config, const Clock& clock) : config_(std::move(config)), clock_(clock) {}
  DpdkDriver(const DpdkDriver&) = delete;
  DpdkDriver& operator=(const DpdkDriver&) = delete;
  ~DpdkDriver() override;
  Status open(std::string& why);

  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] Address local() const override { return config_.address; }
  [[nodiscard]] std::uint32_t max_payload() const override { return max_payload_; }
  std::size_t alloc(std::span<TxPacket> out) override;
  std::size_t send(const Address& to, std::span<TxPacket> packets) override;
  void free(std::span<TxPacket> packets) override;
  std::size_t receive(std::span<RxPacket> out) override;
  void release(std::span<RxPacket> packets) override;
  [[nodiscard]] std::span<const int> wait_fds() const override { return wait_fds_; }
  bool prepare_sleep() override;
  void finish_sleep() override;
  [[nodiscard]] DriverCounters counters() const override { return counters_; }
  void more_counters(const std::function<void(std::string_view, std::uint64_t)>& each) const override;

 private:
  struct Line {  // a port and what we are on it
    std::unique_ptr<Port> port;
    Station us;
    Pool pool;
    Nanos full_since = 0;  // it takes nothing since; 0: it does
    bool to_one_peer = false;
  };
  struct Route {
    Line* line = nullptr;
    std::uint32_t next_hop = 0;
    std::uint16_t target_port = 0;
    std::uint32_t target_ip = 0;
    bool resolved = false;
    Nanos check_at = 0;
    HeaderTemplate headers;
  };
  struct Held {  // waits for an answer to ARP
    rte_mbuf* mbuf;
    std::uint32_t next_hop;
    Nanos since;
  };

  /// The longest frame that is sent, Ethernet header included.
  [[nodiscard]] std::uint32_t frame_bytes() const {
    return max_payload_ + static_cast<std::uint32_t>(kHeaderBytes);
  }
  // setup.cc
  Status check_config(std::string& why) const;
  Status plan(std::vector<PortPlan>& plans, std::string& why);
  Status open_lines(const std::vector<PortPlan>& plans, std::string& why);
  Status open_timer();
  // driver.cc
  static rte_mbuf* build_frame(const Route& route, const TxPacket& packet);
  std::size_t transmit(Line& line, std::span<rte_mbuf*> mbufs);
  std::size_t take(Line& line, std::span<rte_mbuf*> mbufs, std::span<RxPacket> out);
  bool poll_ports(std::span<RxPacket> out, std::size_t& filled);
  void tend();
  Nanos tend(Line& line, Nanos now);
  void drop(std::span<TxPacket> packets, std::uint64_t& counter);
  // arp.cc
  Route* find_route(const Address& to);
  bool resolve(Route& route, Nanos now);
  void set_next_hop(Route& route, const Mac& mac);
  void ask(Line& line, std::uint32_t ip, const Mac& to);
  void send_arp(Line& line, const Arp& message, const Mac& to);
  void on_arp(Line& line, std::span<const std::byte> frame);
  void hold(Route& route, std::span<TxPacket> packets, Nanos now);
  void flush_held(std::uint32_t next_hop, const Mac& mac);
  void expire_held(Nanos now);

  DriverConfig config_;
  const Clock& clock_;
  std::string name_;
  std::uint32_t max_payload_ = 0;
  std::vector<UniqueFd> guards_;
  Pool transmit_pool_;
  std::vector<std::unique_ptr<Line>> lines_;
  Line* net_ = nullptr;  // the one without peer=
  std::unordered_map<std::uint32_t, Line*> peers_;
  std::unordered_map<Address, Route> routes_;
  Address last_to_{};
  Route* last_route_ = nullptr;
  Neighbours neighbours_;
  std::vector<Held> held_;

  std::size_t first_line_ = 0;
  std::array<RxPacket, kMaxBurst> early_{};  // found by prepare_sleep()
  std::size_t early_begin_ = 0;
  std::size_t early_end_ = 0;
  unsigned polls_ = 0;
  Nanos tend_at_ = 0;
  bool transmit_was_full_ = false;

  UniqueFd timer_;
  bool timer_is_set_ = false;
  std::vector<int> wait_fds_;
  DriverCounters counters_;
  Drops drops_;
};

}  // namespace hpcvmm::net::dpdk
