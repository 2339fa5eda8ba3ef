// The data path: records from a VMM process's rings to the node at the other end of the channel, and back.
//
// A channel of a process is one end of a *circuit*; the other end is a channel of a process on another node.
// Each end has a number (never used twice while anybody could still mean the old one) that the other end
// addresses it by.
//
// Copies: out, none but encryption (the transport reads the ring while it encrypts; the record's space is the
// VMM's again when it has arrived); in, one, from the packets that were decrypted in place into the process's
// ring, where a record that comes in several packets is put together.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/outbox.hh"
#include "daemon/peer_message.hh"
#include "daemon/poller.hh"
#include "daemon/rings.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::daemon {

using CircuitId = std::uint32_t;
using PortId = std::uint32_t;
using wire::local::Node;

/// One end of a channel.
struct Circuit {
  enum class State : std::uint8_t {
    Opening,  ///< asked for; the other end has no number yet
    Waiting,  ///< the other end may not know yet that it is open: nothing is sent
    Open,
  };
  CircuitId id = 0;
  PortId port = 0;
  std::uint32_t channel = 0;  ///< the process's number for it
  Node peer = 0;
  CircuitId peer_circuit = 0;
  State state = State::Opening;
  bool closing = false;  ///< our process is done: what is in its rings is still sent, then marks
  std::array<std::uint64_t, kLanes> close_at{};
  std::array<bool, kLanes> mark_sent{}, mark_got{};
  std::string why;  ///< for the marks
  std::uint64_t bytes_out = 0, bytes_in = 0;
  std::uint64_t late_bytes = 0;  ///< in the overflow queue
};

struct RelayCounters {
  std::uint64_t records_out = 0, bytes_out = 0, records_in = 0, bytes_in = 0;
  std::uint64_t dropped = 0;   ///< records of channels that are no more
  std::uint64_t overflow = 0;  ///< records that found the process's ring full and waited here
  std::uint64_t stalls = 0;    ///< times the transport had no room
};

class RelayEvents {
 public:
  RelayEvents() = default;
  RelayEvents(const RelayEvents&) = delete;
  RelayEvents& operator=(const RelayEvents&) = delete;
  virtual ~RelayEvents() = default;
  /// The other end has closed, is dead, or is unreachable.  `c` is valid during the call only; `lost`: not in
  /// order.
  virtual void on_circuit_closed(const Circuit& c, const std::string& why, bool lost) = 0;
  /// The process behind `port` has broken the protocol of the rings.
  virtual void on_port_broken(PortId port, const char* why) = 0;
};

/// Threads: one.
class Relay {
 public:
  Relay(Poller& poller, Outbox& outbox, RelayEvents& events)
      : poller_(poller), outbox_(outbox), events_(events) {}
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  ~Relay();
  /// Before anything else.  It outlives the relay.
  void set_transport(net::Transport& transport) { transport_ = &transport; }

  /// Makes the rings of a process.  Errors: those of Rings::create.
  Result<PortId> add_port();
  Rings& rings(PortId id);
  /// Bytes of payload moved for that process so far, both ways.
  [[nodiscard]] std::uint64_t bytes_of(PortId id) const;
  /// The process is gone.  Circuits that are not closing are aborted; the others still send what the rings
  /// hold.
  void remove_port(PortId id, const std::string& why);

  /// A circuit for a channel that is not in use.
  CircuitId add(PortId port, std::uint32_t channel, Node peer);
  [[nodiscard]] const Circuit* find(CircuitId id) const;
  /// 0: no such channel.
  [[nodiscard]] CircuitId find(PortId port, std::uint32_t channel) const;
  /// The circuit that `node` calls `peer_circuit`; 0: none.
  [[nodiscard]] CircuitId find_from(Node node, CircuitId peer_circuit) const;
  void set_peer_circuit(CircuitId id, CircuitId peer_circuit, Circuit::State state);
  void set_open(CircuitId id);

  /// Our process is done with it: what it has written is sent, then the other end is told.  An Opening
  /// circuit is aborted.  The number is not valid afterwards.
  void close(CircuitId id, const std::string& why);
  /// The other end is told at once, ahead of everything; what is under way is lost.
  void abort(CircuitId id, const std::string& why);
  /// Forgets it without a word to anybody.
  void drop(CircuitId id);

  /// Moves records out, a bounded number.  True: did something.
  bool pump();
  /// False: there is something to do.  True: VMM processes will write their eventfds.
  bool prepare_sleep();
  /// Processes that are to look at their rings are woken.  At the end of each pass.
  void wake_processes();
  /// A process's ring was full: pump() must be called within a millisecond.
  [[nodiscard]] bool has_overflow() const { return overflow_records_ != 0; }

  // From the transport; on_incoming() and on_abandoned() as in net::Handler.
  std::byte* on_incoming(Node from, CircuitId id, net::Priority priority, std::uint32_t bytes);
  void on_abandoned(Node from, net::Priority priority);
  void on_data(const net::Message& m);
  void on_mark(Node from, const peer::Mark& m, net::Priority priority);
  void on_abort(Node from, const peer::Abort& m);
  void on_peer_down(Node node, const std::string& why);
  void on_writable(Node node, net::Priority priority);
  void on_released(std::uint64_t token);

  /// Whether any circuit goes to that node.
  [[nodiscard]] bool busy_with(Node node) const {
    const auto found = interest_.find(node);
    return found != interest_.end() && found->second != 0;
  }
  [[nodiscard]] const std::unordered_map<CircuitId, Circuit>& circuits() const { return circuits_; }
  [[nodiscard]] const RelayCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t ports() const { return ports_.size(); }

 private:
  struct Late {
    CircuitId circuit;
    std::uint32_t channel;
    std::vector<std::byte> bytes;
  };
  struct Port {
    PortId id = 0;
    std::shared_ptr<Rings> rings;
    Poller::Id watch = 0;
    std::unordered_map<std::uint32_t, CircuitId> channels;
    /// Lanes whose first record must wait: for the transport, or for the circuit to be open.
    std::array<bool, kLanes> blocked{};
    std::array<std::deque<Late>, kLanes> late;
    /// Lanes in whose ring the next record is being put together (places_): nothing else may come there.
    std::array<bool, kLanes> filling{};
    unsigned closing = 0;  ///< circuits
    std::uint64_t bytes = 0;
    unsigned idle = 0;  ///< passes without work
    bool hot = false, dirty = false, gone = false;
  };
  /// Where the transport puts a record together.
  struct Place {
    PortId port;
    std::shared_ptr<Rings> rings;  // as long as it may write there
    std::byte* at;
  };
  enum class Pumped : std::uint8_t { Nothing, Some, Stuck };

  Port* port(PortId id);
  Circuit* circuit(CircuitId id);
  void heat(Port& p);
  bool pump_port(Port& p);
  Pumped pump_record(Port& p, Lane lane, const LendingReader::View& v);
  bool pump_lane(Port& p, Lane lane);
  bool send_marks(Port& p, Lane lane);
  bool flush_late(Port& p);
  bool put(Port& p, Lane lane, std::uint32_t channel, std::span<const std::byte> bytes);
  void show(Port& p, Lane lane);
  std::byte* end_filling(Node from, Lane lane);
  void block(Port& p, Lane lane, Node node);
  void erase(CircuitId id);
  void bury_if_done(PortId id);

  Poller& poller_;
  Outbox& outbox_;
  RelayEvents& events_;
  net::Transport* transport_ = nullptr;
  std::unordered_map<PortId, std::unique_ptr<Port>> ports_;
  std::unordered_map<CircuitId, Circuit> circuits_;
  std::unordered_map<std::uint64_t, CircuitId> by_peer_;
  std::vector<PortId> hot_, dirty_;
  std::unordered_map<Node, std::uint32_t> interest_;  ///< circuits per peer
  std::array<std::unordered_map<Node, std::vector<PortId>>, kLanes> waiting_;
  std::array<std::unordered_map<Node, Place>, kLanes> places_;
  PortId next_port_ = 1;
  CircuitId next_circuit_ = 1;
  std::size_t overflow_records_ = 0;
  RelayCounters counters_;
};

}  // namespace hpcvmm::daemon
