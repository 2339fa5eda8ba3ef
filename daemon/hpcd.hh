// Hpcd: the parts of hpcd put together, and its loop.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>

#include "daemon/balance/balance.hh"
#include "daemon/config.hh"
#include "daemon/facts.hh"
#include "daemon/link.hh"
#include "daemon/members.hh"
#include "daemon/moves.hh"
#include "daemon/outbox.hh"
#include "daemon/poller.hh"
#include "daemon/relay.hh"
#include "daemon/remotes.hh"
#include "daemon/request.hh"
#include "daemon/rpc.hh"
#include "daemon/sessions.hh"
#include "daemon/stream_server.hh"
#include "net/driver/waiter.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::daemon {

/// One thread does everything: the network, the rings, the sockets.  Nothing in it blocks but the Waiter.
class Hpcd final : public net::Handler, public SessionEvents, public RelayEvents {
 public:
  /// Errors: a refusal that names what could not be had, and the remedy.
  static std::variant<std::unique_ptr<Hpcd>, Refusal> create(const Config& config, const ClusterKey& key);
  Hpcd(const Hpcd&) = delete;
  Hpcd& operator=(const Hpcd&) = delete;
  ~Hpcd() override;

  /// Until a signal (SIGTERM, SIGINT) or a request ends it.  Returns the exit status.
  int run();

 private:
  Hpcd(const Config& config, Poller poller, RemoteKit kit);
  std::optional<Refusal> start(const ClusterKey& key);
  std::optional<Refusal> start_network(const ClusterKey& key);
  std::optional<Refusal> listen();

  // The loop.
  bool pass();
  void sleep(net::Nanos deadline);
  void tick();
  void gossip();
  void begin_shutdown(const char* why);
  bool shutdown_done();
  void evacuate();
  [[nodiscard]] Room room() const;
  [[nodiscard]] std::uint64_t network_bytes() const;

  // net::Handler
  net::Take on_message(const net::Message& m) override;
  void on_writable(net::NodeId node, net::Priority priority) override;
  void on_peer_up(net::NodeId node, std::uint64_t incarnation, std::uint64_t session) override;
  void on_peer_down(net::NodeId node, net::DownReason reason) override;
  void on_unknown_peer(net::NodeId node, const net::Address& from) override;
  void on_released(std::uint64_t token) override;
  void on_control(const net::Message& m);
  void on_open_request(Node from, const peer::OpenRequest& m);
  void on_open_reply(Node from, const peer::OpenReply& m);
  void lose_node(Node node, const std::string& why);
  void pass_stops_on();

  // SessionEvents
  void on_register(Session& s, const wire::local::Register& m, const Session* before) override;
  void on_state(Session& s) override;
  void on_open(Session& s, const wire::local::Open& m) override;
  void on_close(Session& s, const wire::local::Close& m) override;
  void on_move_done(Session& s, const wire::local::MoveDone& m) override;
  void on_gone(Session& s, const std::string& why) override;
  void refuse_open(Session& s, std::uint32_t channel, int code, const std::string& why);

  // RelayEvents
  void on_circuit_closed(const Circuit& c, const std::string& why, bool lost) override;
  void on_port_broken(PortId port, const char* why) override;
  Session* session_of(PortId port);

  // Requests (node_requests.cc)
  void on_api(StreamServer::Id id, std::string& input);
  void on_question(Node from, const std::string& text, const Rpc::Reply& reply);
  void handle(const Request& r, uid_t caller, const Answer& answer);
  void handle_ps(const Request& r, const Answer& answer);
  void handle_find(const Request& r, const Answer& answer);
  void handle_migrate(const Request& r, uid_t caller, const Answer& answer);
  void handle_balance(const Request& r, uid_t caller, const Answer& answer);
  /// Does it here if the process is at home here, else at the node where it is.
  void at_home(const Request& r, uid_t caller, const Answer& answer,
               const std::function<void(Session&)>& here);
  void forward(Node to, Request r, uid_t caller, const Answer& answer);
  void handle_faults(const Request& r, const Answer& answer);
  [[nodiscard]] nlohmann::json nodes_json() const;
  [[nodiscard]] nlohmann::json processes_json() const;
  [[nodiscard]] nlohmann::json process_json(const Session& s) const;
  void handle_process(const Request& r, uid_t caller, const Session& s, const Answer& answer);
  void on_http(StreamServer::Id id, std::string& input);
  [[nodiscard]] std::string metrics() const;

  Config config_;
  net::SystemClock clock_;
  Poller poller_;
  Outbox outbox_;
  Members members_;
  Sessions sessions_;
  Relay relay_;
  Remotes remotes_;
  Rpc rpc_;
  Moves moves_;
  Balance balance_;
  StreamServer api_, http_;
  Link link_;
  std::unique_ptr<net::Transport> transport_;
  std::optional<net::Waiter> waiter_;
  UniqueFd signals_;
  Poller::Id signals_watch_ = 0;

  std::uint64_t now_ms_ = 0, next_tick_ms_ = 0, next_gossip_ms_ = 0, next_evacuation_ms_ = 0, end_ms_ = 0;
  unsigned passes_ = 0;
  std::unordered_set<CircuitId> stopped_;  // circuits whose deputy is stopped
  bool stopping_ = false;
  peer::Gossip own_{};
  HostFacts host_{};
};

}  // namespace hpcvmm::daemon
