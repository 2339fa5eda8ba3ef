// Core: what all sessions of a transport share.
#pragma once

#include <array>
#include <cstddef>

#include "net/driver/driver.hh"
#include "net/transport/config.hh"
#include "net/transport/message.hh"
#include "net/transport/pool.hh"
#include "net/transport/stats.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::net {

struct Core {
  Core(const Config& c, Driver& d, const Clock& k, Handler& h) : config(c), driver(d), clock(k), handler(h) {}

  Config config;
  Driver& driver;
  const Clock& clock;
  Handler& handler;
  Stats stats;
  Buffers buffers;
  Pool<OutMessage> messages;
  Pool<Assembly> assemblies;
  bool worked = false;

  /// Empty buffers of the driver's, got in bursts.
  std::array<TxPacket, 32> spare{};
  std::size_t spares = 0;
  /// An empty packet; false: the device has none for now.
  bool take_packet(TxPacket& out) {
    if (spares == 0) spares = driver.alloc(spare);
    if (spares == 0) return false;
    out = spare[--spares];
    return true;
  }
  void drop(Drop why) { ++stats.drops[static_cast<std::size_t>(why)]; }
};

}  // namespace hpcvmm::net
