// The patch bay's network, when it has one: two nodes' transports over the simulated network driver, whose
// clock follows the real one.  Deputies are at one end, remotes at the other; packets between are lost and
// overtaken from a seed, and what the transports deliver is complete and in order all the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "net/driver/sim/sim.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::test {

enum class End : std::uint8_t { Deputies = 0, Remotes = 1 };

class BadLink {
 public:
  /// What has arrived at `end`; false: no room there, offer it again.
  using Deliver =
      std::function<bool(End end, std::uint32_t circuit, unsigned stream, std::span<const std::byte> record)>;

  /// Both ends see each other when it returns.  Ends the program with a message when the transport does not
  /// start.
  BadLink(const net::SimLink& link, std::uint64_t seed, Deliver deliver);
  BadLink(const BadLink&) = delete;
  BadLink& operator=(const BadLink&) = delete;
  ~BadLink();

  /// From `end` to the other one.  False: no room, try again after pass().
  bool send(End end, std::uint32_t circuit, unsigned stream, std::span<const std::byte> record);
  /// Lets the network live until now.  True: did something.
  bool pass();
  /// Nanoseconds until pass() has something to do.
  [[nodiscard]] std::int64_t idle() const { return next_ - net_.now(); }
  /// From `after` on (network time from now) nothing arrives any more.
  void cut(net::Nanos after) { cut_at_ = net_.now() + after; }
  /// The ends have noticed that, and nothing can be sent.
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] std::string summary() const;

 private:
  class Node;

  net::SimNetwork net_;
  std::uint64_t seed_;
  Deliver deliver_;
  std::array<std::unique_ptr<Node>, 2> nodes_;
  net::Nanos real_before_ = 0;
  net::Nanos next_ = 0;
  net::Nanos cut_at_ = net::kNever;
  bool lost_ = false;
};

}  // namespace hpcvmm::test
