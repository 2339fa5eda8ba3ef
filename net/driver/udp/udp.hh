// A kernel UDP socket as a Driver: works everywhere, and wakes like any descriptor.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net {

struct UdpConfig {
  /// What to bind to; port 0: any.  Also decides IPv4 or IPv6.
  Address bind;
  /// Largest payload; 0: what the MTU of the interface with that address leaves.
  std::uint32_t max_payload = 0;
  /// Socket buffers, bytes; more than the system allows needs CAP_NET_ADMIN, without it the system's limit is
  /// taken.
  int receive_buffer = 32 << 20;
  int send_buffer = 8 << 20;
  /// Packets that sender and receiver may hold together.
  std::uint32_t buffers = 1024;
};

class UdpDriver final : public Driver {
 public:
  /// Errors: those of socket, bind (EADDRINUSE: another process has the port; EADDRNOTAVAIL: no interface has
  /// the address).
  static Result<std::unique_ptr<UdpDriver>> create(const UdpConfig& config);
  ~UdpDriver() override;
  UdpDriver(const UdpDriver&) = delete;
  UdpDriver& operator=(const UdpDriver&) = delete;

  [[nodiscard]] std::string_view name() const override { return "udp"; }
  [[nodiscard]] Address local() const override { return local_; }
  [[nodiscard]] std::uint32_t max_payload() const override { return max_payload_; }
  std::size_t alloc(std::span<TxPacket> out) override;
  std::size_t send(const Address& to, std::span<TxPacket> packets) override;
  void free(std::span<TxPacket> packets) override;
  std::size_t receive(std::span<RxPacket> out) override;
  void release(std::span<RxPacket> packets) override;
  [[nodiscard]] std::span<const int> wait_fds() const override { return {&wait_fd_, 1}; }
  bool prepare_sleep() override { return true; }  // the socket stays readable while there is something
  void finish_sleep() override {}
  [[nodiscard]] DriverCounters counters() const override { return counters_; }

 private:
  struct Calls;  // what the system calls are given, made once
  UdpDriver(UniqueFd socket, const UdpConfig& config, Address local, std::uint32_t max_payload);
  void give(void* buffer) { free_.push_back(static_cast<std::byte*>(buffer)); }

  UniqueFd socket_;
  int wait_fd_;
  Address local_;
  std::uint32_t max_payload_;
  std::uint32_t slot_bytes_;
  std::byte* memory_;
  std::vector<std::byte*> free_;
  std::vector<std::byte*> rejected_;
  std::unique_ptr<Calls> calls_;
  DriverCounters counters_;
};

}  // namespace hpcvmm::net
