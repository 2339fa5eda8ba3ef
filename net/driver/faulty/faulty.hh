// FaultyDriver: any driver over a bad link.  Faults are applied to what is sent (cuts to both directions),
// from a seed.
//
// A specification is a list of  loss=P  dup=P  reorder=P  corrupt=P  (probabilities: 0.01 or 1%),  delay=T
// jitter=T (times: 200us, 1ms, 2s),  seed=N,  cut  (everything is lost),  cut=IP  (everything to and from
// that address is lost; may be repeated),  separated by commas.  "" is a good link.
#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/clock.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net {

struct Faults {
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  double corrupt = 0;
  Nanos delay = 0;
  Nanos jitter = 0;
  std::uint64_t seed = 1;
  bool cut_all = false;
  std::vector<Address> cut;  ///< their ports are 0

  /// False: `problem` names the item and what is wrong with it.
  static bool parse(std::string_view text, Faults& out, std::string& problem);
  [[nodiscard]] bool any() const;
};

class FaultyDriver final : public Driver {
 public:
  /// `clock` outlives the driver.  Errors: those of timerfd_create.
  static Result<std::unique_ptr<FaultyDriver>> create(std::unique_ptr<Driver> inner, const Clock& clock,
                                                      const Faults& faults);
  FaultyDriver(const FaultyDriver&) = delete;
  FaultyDriver& operator=(const FaultyDriver&) = delete;
  ~FaultyDriver() override = default;

  /// From now on; what is on its way stays on its way.
  void set(const Faults& faults);
  [[nodiscard]] Driver& inner() { return *inner_; }

  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] Address local() const override { return inner_->local(); }
  [[nodiscard]] std::uint32_t max_payload() const override { return inner_->max_payload(); }
  std::size_t alloc(std::span<TxPacket> out) override { return inner_->alloc(out); }
  std::size_t send(const Address& to, std::span<TxPacket> packets) override;
  void free(std::span<TxPacket> packets) override { inner_->free(packets); }
  std::size_t receive(std::span<RxPacket> out) override;
  void release(std::span<RxPacket> packets) override { inner_->release(packets); }
  [[nodiscard]] std::span<const int> wait_fds() const override { return wait_fds_; }
  bool prepare_sleep() override;
  void finish_sleep() override;
  [[nodiscard]] DriverCounters counters() const override { return inner_->counters(); }
  void more_counters(const std::function<void(std::string_view, std::uint64_t)>& each) const override;

 private:
  struct Late {
    Nanos due = 0;
    std::uint64_t order = 0;
    Address to;
    std::vector<std::byte> bytes;
    bool operator>(const Late& o) const { return due != o.due ? due > o.due : order > o.order; }
  };
  FaultyDriver(std::unique_ptr<Driver> inner, const Clock& clock, const Faults& faults, UniqueFd timer);
  bool chance(double p);
  [[nodiscard]] bool is_cut(const Address& a) const;
  bool spoil(const Address& to, TxPacket& packet);
  void hold(const Address& to, const TxPacket& packet, Nanos for_how_long);
  void send_late();

  std::unique_ptr<Driver> inner_;
  const Clock* clock_;
  Faults faults_;
  bool active_ = false;
  std::mt19937_64 random_;
  UniqueFd timer_;
  bool timer_is_set_ = false;
  std::vector<int> wait_fds_;
  std::priority_queue<Late, std::vector<Late>, std::greater<>> late_;
  std::uint64_t order_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t duplicated_ = 0;
  std::uint64_t held_up_ = 0;
  std::uint64_t corrupted_ = 0;
};

}  // namespace hpcvmm::net
