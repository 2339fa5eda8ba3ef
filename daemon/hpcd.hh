// Hpcd: the parts of hpcd put together, and its loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "daemon/balance/balance.hh"
#include "daemon/cluster_view.hh"
#include "daemon/config.hh"
#include "daemon/facts.hh"
#include "daemon/files.hh"
#include "daemon/identity.hh"
#include "daemon/link.hh"
#include "daemon/members.hh"
#include "daemon/moves.hh"
#include "daemon/names/source.hh"
#include "daemon/names/store.hh"
#include "daemon/outbox.hh"
#include "daemon/poller.hh"
#include "daemon/presence.hh"
#include "daemon/relay.hh"
#include "daemon/remotes.hh"
#include "daemon/request.hh"
#include "daemon/rpc.hh"
#include "daemon/sessions.hh"
#include "daemon/stream_server.hh"
#include "daemon/system.hh"
#include "net/driver/waiter.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::daemon {

/// One thread does everything: the network, the rings, the sockets.  Nothing in it blocks but the Waiter.
class Hpcd final : public net::Handler, public SessionEvents, public RelayEvents {
 public:
  /// Errors: a refusal that names what could not be had, and the remedy.
  /// `found_number`: it was not in the configuration, so that another one may take its place.
  static std::variant<std::unique_ptr<Hpcd>, Refusal> create(const Config& config, const Identity& identity,
                                                             bool found_number, const ClusterKey& key);
  Hpcd(const Hpcd&) = delete;
  Hpcd& operator=(const Hpcd&) = delete;
  ~Hpcd() override;

  /// Until a signal (SIGTERM, SIGINT) or a request ends it.  Returns the exit status.
  int run();

 private:
  Hpcd(const Config& config, const Identity& identity, Poller poller, RemoteKit kit);
  std::optional<Refusal> start(const ClusterKey& key);
  std::optional<Refusal> start_network(const ClusterKey& key);
  std::optional<Refusal> listen();

  // The loop.
  bool pass();
  void sleep(net::Nanos deadline);
  void note_delay();
  void tick();
  void gossip();
  void begin_shutdown(const char* why);
  bool shutdown_done();
  void evacuate();
  [[nodiscard]] Room room() const;
  [[nodiscard]] std::uint64_t network_bytes() const;

  // net::Handler
  std::byte* on_incoming(net::NodeId node, std::uint32_t channel, net::Priority priority,
                         std::uint32_t bytes) override;
  void on_abandoned(net::NodeId node, net::Priority priority) override;
  net::Take on_message(const net::Message& m) override;
  void on_writable(net::NodeId node, net::Priority priority) override;
  void on_peer_up(net::NodeId node, std::uint64_t incarnation, std::uint64_t session) override;
  void on_peer_down(net::NodeId node, net::DownReason reason) override;
  void on_unknown_peer(net::NodeId node, const net::Address& from) override;
  void on_loose(net::Part bytes, const net::Address& from) override;
  void on_released(std::uint64_t token) override;
  void on_control(const net::Message& m);
  void on_open_request(Node from, const peer::OpenRequest& m);
  void on_open_reply(Node from, const peer::OpenReply& m);
  void lose_node(Node node, const std::string& why);

  // Names (hpcd_names.cc)
  Status start_names();
  void give_names_to_deputy(Session& s);
  void give_names_to_remote(const Remote& r);
  bool tell_names(const names::Source::Reader& reader, const names::Bytes& batch);
  names::Store* store_of(Node home, std::uint32_t user);
  void on_names(Node from, const peer::NamesMessage& m);
  void forget_names_of(Node node);

  // Who is there (hpcd_members.cc)
  void start_presence(const ClusterKey& key);
  void on_member_event(const net::discovery::Event& e);
  void welcome_node(const net::discovery::Event& e, const char* what);
  void hear(Node node);
  void drop_connection(Node node, const std::string& text);
  void close_unused();
  void tell_load(const peer::Gossip& g, bool changed);
  void pass_stops_on();

  // SessionEvents
  void on_register(Session& s, const wire::local::Register& m, const Session* before) override;
  void on_state(Session& s) override;
  void on_affinity(Session& s) override;
  void on_open(Session& s, const wire::local::Open& m) override;
  void on_close(Session& s, const wire::local::Close& m) override;
  void on_move_done(Session& s, const wire::local::MoveDone& m) override;
  void on_file_seen(const wire::local::FileSeen& m) override;
  void on_file_ask(Session& s, const wire::local::FileAsk& m) override;
  void on_names_ask(const Session& s, const wire::local::NamesAsk& m) override;
  void on_names_hold(Session& s, const wire::local::NamesHold& m) override;
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
  void handle_affinity(const Request& r, uid_t caller, const Answer& answer);  // hpcd_view.cc
  void handle_faults(const Request& r, const Answer& answer);
  [[nodiscard]] nlohmann::json nodes_json() const;
  [[nodiscard]] nlohmann::json processes_json(bool mappings) const;
  [[nodiscard]] nlohmann::json process_json(const Session& s) const;
  void handle_process(const Request& r, uid_t caller, const Session& s, const Answer& answer);
  void on_http(StreamServer::Id id, std::string& input);
  [[nodiscard]] std::string metrics() const;

  Config config_;
  Identity identity_;
  bool found_number_ = false;
  net::SystemClock clock_;
  Poller poller_;
  Outbox outbox_;
  Members members_;
  Sessions sessions_;
  Relay relay_;
  Remotes remotes_;
  Files files_;
  Poller::Id files_watch_ = 0;
  names::Source names_;
  std::unordered_map<Node, std::uint64_t> names_used_ms_;  ///< when one of ours last ran there
  Poller::Id names_changes_watch_ = 0, names_news_watch_ = 0;
  std::map<std::pair<Node, std::uint32_t>, std::unique_ptr<names::Store>> stores_;  ///< by home and user
  Rpc rpc_;
  Moves moves_;
  Balance balance_;
  ClusterView view_;
  StreamServer api_, http_;
  Link link_;
  std::unique_ptr<net::Transport> transport_;
  std::optional<net::Waiter> waiter_;
  std::unique_ptr<Presence> presence_;
  std::unordered_map<Node, std::uint64_t> lives_;  ///< of the nodes connected to
  std::size_t told_ = 0;
  int exit_status_ = 0;
  UniqueFd signals_;
  Poller::Id signals_watch_ = 0;

  std::uint64_t now_ms_ = 0, next_tick_ms_ = 0, next_gossip_ms_ = 0, next_evacuation_ms_ = 0, end_ms_ = 0;
  unsigned passes_ = 0;
  ThreadTimes times_;                      // at the last tick
  std::unordered_set<CircuitId> stopped_;  // circuits whose deputy is stopped
  bool stopping_ = false;
  peer::Gossip own_{};
  HostFacts host_{};
};

}  // namespace hpcvmm::daemon
