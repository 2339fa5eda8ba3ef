// The balancer of one node, alive: measures, tells others, decides, and has moves carried out.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "balancer/admit.hh"
#include "balancer/decide.hh"
#include "balancer/gossip.hh"
#include "daemon/balance/attributes.hh"
#include "daemon/balance/meter.hh"
#include "daemon/balance/partners.hh"
#include "daemon/balance/profiles.hh"
#include "daemon/balance/settings.hh"
#include "daemon/balance/track.hh"
#include "daemon/config.hh"
#include "daemon/members.hh"
#include "daemon/moves.hh"
#include "daemon/outbox.hh"
#include "daemon/remotes.hh"
#include "daemon/request.hh"
#include "daemon/rpc.hh"
#include "daemon/sessions.hh"

namespace hpcvmm::daemon {

/// A process that is at home here, wherever it runs.
struct OwnProcess {
  SessionId session = 0;
  pid_t pid = 0;
  Attributes attributes;         ///< as people have said
  std::vector<Node> bound;       ///< ascending: the nodes of the CPUs it is bound to; empty: all
  Attributes orders;             ///< what follows from both
  Track track{0, 1};             ///< while it runs here
  CallRate calls;                ///< made at home, wherever it runs
  CallRate away;                 ///< that went home, per second of CPU time elsewhere
  CallRate kib;                  ///< read and written
  CallRate transfers;            ///< reads and writes
  CallTime way;                  ///< of a call home
  float home_share = 1;          ///< of the calls at home, what would go home from elsewhere: its program's
  std::uint64_t io_bytes = 0;    ///< so far
  std::vector<Joined> partners;  ///< `b` is the other one
  balancer::Partner traffic;     ///< with all of them
  float rss_mib = 0;             ///< at the last sample
  std::string exe;
  bool forked = false;
  std::uint64_t cpu_base_us = 0;     ///< used before its present program began
  bool stated = false;               ///< its present program has told what it has counted, from 0 on
  std::uint64_t remote_base_us = 0;  ///< remote CPU time before its present stay
  peer::GuestReport report;          ///< of the node where it is
  std::uint32_t ordered = 0;         ///< moves that the balancer has begun
  Node goes_to = 0;                  ///< by the balancer's will; 0: nowhere
  double stay_cost = 0;              ///< what that was decided with
  Node told = 0;                     ///< the node that these and the attributes were sent to
  float told_calls = 0, told_way = 0;
  bool moving = false;
  double not_before_s = 0;  ///< a move failed: not again before
  double cannot_move_s = -1e9;
  double ended_s = 0;  ///< parting: when it ended
  std::string why;     ///< the last decision, for people
};

/// A process of another node that runs here.
struct GuestProcess {
  pid_t pid = 0;  ///< of its remote
  Node home = 0;
  std::int32_t home_pid = 0;
  Attributes attributes;
  Track track{0, 1};
  float calls_ps = 0, home_mib_ps = 0, round_trip_s = 0;
  balancer::Partner traffic;
  std::uint64_t cpu_before_ms = 0;  ///< of the reference CPU, before it came
  std::uint32_t moves = 0;
  float working_set_mib = 0;
  float announced_mib = 0;  ///< what it brings, as long as that is on its way
  bool moving = false;
  double not_before_s = 0;
  peer::GuestReport told;
};

/// A view whose spans point into itself and into the tables: valid until one of those changes.
struct OwnedView {
  balancer::View view;
  std::vector<balancer::NodeLoad> others;
  std::vector<balancer::Process> processes;
};

/// Threads: one.  Everything it is given outlives it.
/// The CPUs that a process wanted where it was, as that node said last.
inline float use_elsewhere(const OwnProcess& p) { return static_cast<float>(p.report.cpu_use_milli / 1e3); }

class Balance {
 public:
  struct Parts {
    Sessions& sessions;
    const Members& members;
    Remotes& remotes;
    Outbox& outbox;
    Rpc& rpc;
    Moves& moves;
  };
  Balance(const Config& config, Parts parts);
  Balance(const Balance&) = delete;
  Balance& operator=(const Balance&) = delete;
  ~Balance();

  /// Reads what people have set before and learns the speed of the CPUs.
  void start(std::uint64_t now_ms);
  /// Ten times a second.  `network_bytes`: sent and received so far.
  void tick(std::uint64_t now_ms, std::uint64_t network_bytes);
  /// No decisions any more: this hpcd ends.
  void stop() { stopped_ = true; }

  // The network.
  /// Tells `node` how this one is now; nothing if it is none of the cluster, or this one is quiet.
  void tell(Node node);
  void on_load(Node from, const peer::LoadMessage& m);
  void on_guest(Node from, const peer::Guest& m);
  void on_guests(Node from, const peer::GuestsMessage& m);
  /// A node is there; in a small cluster both learn at once whom they may send work to, in a large one by and
  /// by.
  void on_joined(Node node);
  /// It is connected to.
  void on_peer_up(Node node);
  void on_peer_down(Node node);
  /// Whether the node takes a process that another sends.  Empty: yes; else why not, for the answer; the
  /// other node has then been sent this one's load.
  std::string admit(Node from, const peer::OpenRequest& m);
  /// After a remote has been started.
  void on_admitted();

  // Processes of this node.
  /// What Welcome::start_on shall say.
  Node on_register(const Session& s, const wire::local::Register& m, bool same_process);
  void on_state(const Session& s);
  /// It has been bound to CPUs of these nodes (sched_setaffinity); none: to no CPUs.
  void bind(const Session& s, std::vector<Node> nodes);
  /// Before OpenRequest goes to `to`: tells that node of the process.
  void before_open(const Session& s, Node to);
  void on_gone(const Session& s);

  // Requests.
  void handle_ctl(const Request& r, const Answer& answer);
  void handle_drain(const Request& r, const Answer& answer);
  /// Empty: done; else why not.
  std::string set_process(const Request& r, const Session& s);
  void handle_why(const Request& r, const Session* s, const Answer& answer);
  /// Another node, where it runs, wants `s` moved.
  void handle_move(const Request& r, Session& s, const Answer& answer);
  /// The node that `s` should move to by cost, whatever its age; its present one: stay.
  [[nodiscard]] Node choose(const Session& s);

  /// More threads want to run here than there are CPUs, by the last measurement.
  [[nodiscard]] bool crowded() const { return crowded_; }
  [[nodiscard]] bool draining() const { return (settings_.orders & balancer::kDrain) != 0; }
  /// Free memory of the node, bytes: of its control group, where it has one.
  [[nodiscard]] std::uint64_t memory_free() const {
    return base_.free_mib > 0 ? static_cast<std::uint64_t>(base_.free_mib) << 20 : 0;
  }
  [[nodiscard]] balancer::Policy policy() const { return settings_.policy; }
  void add_to_node(nlohmann::json& node, Node id) const;
  void add_to_process(nlohmann::json& process, const Session& s) const;
  struct Counters {
    std::uint64_t decisions = 0, moves = 0, placements = 0, refused = 0, gossip_messages = 0,
                  gossip_bytes = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Placed {
    Node to = 0;
    balancer::Process process;
    double at_s = 0;
  };
  struct Waiter {
    std::uint8_t order = 0;
    Answer answer;
  };
  struct Pending {
    peer::Guest guest;
    double at_s = 0;
  };

  // balance.cc
  void look();
  void sample(std::uint64_t network_bytes);
  void sync_guests();
  void gossip(bool now);
  void send_load(Node to, bool answer);
  void report_guests();
  void tell_home(Node home);
  void tell_homes();
  void learn_members();
  [[nodiscard]] balancer::NodeLoad own_load() const;
  [[nodiscard]] OwnedView make_view();
  [[nodiscard]] balancer::Process describe_own(const OwnProcess& p, const Session& s) const;
  [[nodiscard]] balancer::Process describe_guest(const GuestProcess& g) const;
  [[nodiscard]] bool runs_here(const OwnProcess& p, const Session& s) const;
  /// It has been placed on another node and has not got there.
  [[nodiscard]] bool starts_elsewhere(const OwnProcess& p) const {
    return !p.moving && p.goes_to != 0 && p.goes_to != config_.node;
  }
  [[nodiscard]] double used_s(const OwnProcess& p, const Session& s) const;
  [[nodiscard]] std::uint64_t used_us(const OwnProcess& p, const Session& s) const;

  // habits.cc
  void learn_io(OwnProcess& p, const Session& s);
  double new_io(OwnProcess& p, const Session& s);
  void ask_held();
  void find_partners();
  [[nodiscard]] float calls_ps(const OwnProcess& p, const Session& s) const;
  void put_habits(const OwnProcess& p, const Session& s, balancer::Process& out) const;
  void put_habits(const GuestProcess& g, balancer::Process& out) const;
  static void put_habits(const balancer::Process& d, peer::Guest& m);
  static void learn_habits(GuestProcess& g, const peer::Guest& m);
  void learn_calls(OwnProcess& p, const Session& s);
  void learn_program(const OwnProcess& p, const Session& s);

  // carry.cc
  void decide();
  void carry(const balancer::Decision& d);
  void carry_own(OwnProcess& p, const balancer::Decision& d);
  void carry_guest(SessionId id, GuestProcess& g, const balancer::Decision& d);
  void start_move(Session& s, OwnProcess& p, Node to, double stay_cost, const std::string& why,
                  const Answer& answer);
  void place_one(OwnProcess& p, Node to);
  Node place(OwnProcess& p, const Session& s, const wire::local::Register& m);
  void tell_runner(OwnProcess& p, const Session& s);
  [[nodiscard]] peer::Guest guest_message(const OwnProcess& p, const Session& s) const;

  // requests.cc
  void save();
  void answer_waiters();
  [[nodiscard]] unsigned left(std::uint8_t order, unsigned& cannot) const;
  [[nodiscard]] nlohmann::json why_json(const balancer::Process& p);

  const Config& config_;
  Parts parts_;
  Settings settings_;
  std::string state_file_;
  NodeMeter meter_;
  Profiles profiles_;
  balancer::Gossip gossip_;
  balancer::GossipKnobs gossip_knobs_;
  balancer::Reservations reservations_;
  balancer::Random random_;
  std::uint64_t turn_ = 0;

  double now_s_ = 0, next_look_s_ = 0, next_sample_s_ = 0;
  std::uint64_t now_ms_ = 0, network_bytes_ = 0;
  double sampled_s_ = 0, next_partners_s_ = 0;
  bool asked_held_ = false;  ///< the answers are looked at next
  double io_bytes_ = 0;      ///< of this sample, of all that are at home here
  CallTime way_;             ///< of calls home, of all
  double measured_speed_ = 1;
  balancer::NodeLoad base_;  ///< what does not follow from the processes
  double other_runnable_ = 0;
  bool stopped_ = false, full_ = false, again_ = false, crowded_ = false;
  std::uint32_t in_flight_ = 0;
  Counters counters_;
  std::unordered_map<pid_t, OwnProcess> own_;
  std::unordered_map<pid_t, OwnProcess> parting_;  ///< ended a moment ago, or executing another program
  std::unordered_map<SessionId, GuestProcess> guests_;
  std::map<std::pair<Node, std::int32_t>, Pending> pending_;
  std::vector<Placed> placed_;
  struct Told {
    double at_s = -1;
    bool again = false;  ///< something has changed since, in the same tick
  };
  std::map<Node, Told> told_homes_;
  std::vector<Waiter> waiters_;
  std::FILE* record_ = nullptr;
  std::string recorded_to_;
};

}  // namespace hpcvmm::daemon
