// The guests of other nodes that run here: admission, start, end.
#pragma once

#include <array>
#include <csignal>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/outbox.hh"
#include "daemon/peer_message.hh"
#include "daemon/poller.hh"
#include "daemon/relay.hh"
#include "daemon/sessions.hh"
#include "daemon/spawn.hh"

namespace hpcvmm::daemon {

using wire::local::EngineKind;

/// What is offered to guests; changes while hpcd runs.
struct Room {
  std::uint64_t memory_free = 0;   ///< of the host, now
  std::uint64_t memory_limit = 0;  ///< that all guests together may come to need
  bool draining = false;
};

struct Remote {
  SessionId session = 0;
  pid_t pid = 0;
  Node home = 0;
  CircuitId home_circuit = 0;  ///< the number of the home's end
  CircuitId circuit = 0;       ///< ours; 0: it has not registered yet, or has ended
  std::int32_t home_pid = 0;
  std::uint32_t uid = 0;
  std::uint64_t memory = 0;
  std::string comm;
  std::string ended;          ///< how; empty: it lives
  std::uint64_t kill_ms = 0;  ///< when it is killed unless it has ended by itself; 0: never
};

/// Threads: the one that ends last.
class Remotes {
 public:
  Remotes(Poller& poller, Sessions& sessions, Relay& relay, Outbox& outbox, RemoteKit kit)
      : poller_(poller), sessions_(sessions), relay_(relay), outbox_(outbox), kit_(std::move(kit)) {}
  Remotes(const Remotes&) = delete;
  Remotes& operator=(const Remotes&) = delete;
  /// Kills and reaps all.
  ~Remotes();

  /// Another node asks for room; the answer goes to it.
  void on_request(Node from, const peer::OpenRequest& m, const Room& room, std::uint64_t now_ms);
  /// Answers that the node does not take it.
  void refuse(Node to, CircuitId circuit, int code, const std::string& why);
  void on_register(Session& s);
  /// Its connection is gone: whatever lives of it is killed; the home is told why.
  void on_gone(const Session& s, const std::string& why);
  /// The circuit of a remote has ended; `lost`: not in order.
  void on_circuit_closed(const Circuit& c, const std::string& why, bool lost, std::uint64_t now_ms);
  /// An Abort for a remote that has no circuit yet.
  void on_abort(Node from, CircuitId home_circuit);
  /// Its deputy has been stopped (SIGSTOP, ^Z) or goes on.
  void on_pause(Node from, CircuitId circuit, bool stopped);
  void on_peer_down(Node node);
  /// `spares`: whether remotes are to be kept ready for who comes next.
  void tick(std::uint64_t now_ms, bool spares);

  [[nodiscard]] const RemoteKit& kit() const { return kit_; }
  [[nodiscard]] const std::unordered_map<SessionId, Remote>& all() const { return remotes_; }
  /// Bytes promised to the guests.
  [[nodiscard]] std::uint64_t reserved() const;
  [[nodiscard]] std::uint64_t started() const { return started_; }
  /// Started in advance, and nobody's yet; not among all().
  [[nodiscard]] std::size_t spares() const { return spares_.size(); }
  [[nodiscard]] std::uint64_t refused() const { return refused_; }
  /// Processes that have not been reaped yet.
  [[nodiscard]] std::size_t children() const { return children_.size(); }

 private:
  struct Child {
    UniqueFd process;
    Poller::Id watch = 0;
  };
  /// A remote that nobody has come to yet: started, its rings and its VM made.
  struct Spare {
    SessionId session = 0;
    pid_t pid = 0;
    EngineKind engine = EngineKind::Kvm;
  };
  Result<Spare> start(EngineKind engine);
  Result<Spare> take_or_start(EngineKind engine);
  bool give_rings(Session& s);
  void connect(Remote& r, const Session& s);
  void keep_spares(std::uint64_t now_ms, bool wanted);
  void kill(const Remote& r) { signal(r, SIGKILL); }
  void signal(const Remote& r, int signo);
  /// How it ended, for people; empty: it lives.
  std::string reap(pid_t pid);
  Remote* find(SessionId id);

  Poller& poller_;
  Sessions& sessions_;
  Relay& relay_;
  Outbox& outbox_;
  RemoteKit kit_;
  std::unordered_map<SessionId, Remote> remotes_;
  std::unordered_map<pid_t, Child> children_;
  std::vector<Spare> spares_;
  std::array<std::uint64_t, 2> used_ms_{};  // by engine: when somebody came last
  std::uint64_t no_spares_until_ms_ = 0, now_ms_ = 0;
  std::uint64_t started_ = 0, refused_ = 0;
};

}  // namespace hpcvmm::daemon
