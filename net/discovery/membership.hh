// Membership: which nodes there are, where, and whether they live.  A state machine without clock, socket or
// key: hpcd and the simulator give it packets and time, and carry what it wants sent.
//
// Failure detection and dissemination follow SWIM (Das, Gupta, Motivala, DSN 2002): each period one node is
// probed, directly, then through others; news ride on probes.  Neither the length of a message nor the rate
// per node grows with the cluster.  Tables that differ are made alike by digests (Sync).
//
// Threads: one.  Times are milliseconds of any one clock that does not go back.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/discovery/packet.hh"

namespace hpcvmm::net::discovery {

struct MembershipKnobs {
  std::uint64_t period_ms = 1000;        ///< between two probes while anything changes
  std::uint64_t idle_period_ms = 3000;   ///< ... while nothing does
  std::uint64_t quiet_after_ms = 15000;  ///< nothing has changed for so long
  std::uint64_t answer_ms = 300;         ///< then others are asked to ask
  std::uint32_t helpers = 3;
  std::uint64_t suspect_ms = 2000;  ///< a suspect's time to object: this, times 1 + log10 of the nodes
  std::uint64_t announce_first_ms = 150;
  std::uint64_t announce_last_ms = 30000;  ///< between announcements of an old node
  std::uint32_t quick_announcements = 3;
  std::uint64_t seed_again_ms = 10000;  ///< to a seed that is no member
  std::uint64_t sync_again_ms = 10000;  ///< between two times that tables are made alike
  std::uint64_t forget_ms = 3'600'000;  ///< a dead node
  std::uint64_t forget_left_ms = 60'000;
  std::uint32_t answers = 8;     ///< an announcement gets about so many answers, however many hear it
  std::uint32_t piggyback = 12;  ///< news on a probe, at most
  bool multicast = true;
};

/// How a packet that is to be sent travels.
enum class Way : std::uint8_t { Unicast, Multicast, Back /**< through where the question came in */ };
struct Outgoing {
  Way way = Way::Unicast;
  Address to;
  Packet packet;  ///< wall_ms is the sender's to fill
};

struct Event {
  enum class Kind : std::uint8_t {
    Joined,        ///< or is back
    Restarted,     ///< another life: everything of the old one is lost
    Moved,         ///< another address
    Suspected,     ///< does not answer
    Recovered,     ///< but does
    Failed,        ///< is gone
    Left,          ///< in order
    Heard,         ///< it told something of itself: Member::load, flags
    ForeignClaim,  ///< another machine, at `address`, claims this node's number; it may not have it
    NumberTaken    ///< `address` had this node's number before: this node is to end
  } kind = Kind::Joined;
  NodeId node = 0;
  Address address;
};

struct Member {
  Record record;
  std::uint64_t heard_ms = 0;    ///< directly
  std::uint64_t since_ms = 0;    ///< in this state
  bool asked = false;            ///< a suspect: once more, as its time was over
  std::uint64_t verdict_ms = 0;  ///< not before this time, then
  std::uint64_t sequence = 0;    ///< highest seen of this life, and which of the 64 before it
  std::uint64_t seen = 0;
  std::string load;  ///< as it last told
  [[nodiscard]] bool present() const {
    return record.state == State::Alive || record.state == State::Suspect;
  }
};

class Membership {
 public:
  /// `self`: number, address, life, machine.  `seed` of its random choices.
  Membership(const Record& self, const MembershipKnobs& knobs, std::uint64_t seed);

  /// An address at which somebody may know the cluster.
  void add_seed(const Address& address);
  void on_packet(const Packet& packet, const Address& from, std::uint64_t now_ms);
  /// Does what is due; returns when it must be called next.
  std::uint64_t tick(std::uint64_t now_ms);

  /// Ends in order: tells some, who tell the others.
  void leave(std::uint64_t now_ms);
  /// The transport finds that node silent: it is probed now, and has a second to answer.
  void doubt(NodeId node, std::uint64_t now_ms);
  /// It said itself that it ends.
  void said_goodbye(NodeId node, std::uint64_t now_ms);
  void set_draining(bool draining);
  void set_load(std::span<const std::byte> load);
  /// Something has changed that others should hear soon: probes come at their busy rate for a while.
  void stir(std::uint64_t now_ms);
  /// Asks an address that is not known yet who it is.
  void ask(const Address& address, std::uint64_t now_ms);
  /// Announces at once, and quickly again: as after a start.
  void announce_again(std::uint64_t now_ms);

  /// What is to be sent, and what has happened, since the last call.
  std::vector<Outgoing> take_outgoing();
  std::vector<Event> take_events();

  [[nodiscard]] const Record& self() const { return self_; }
  [[nodiscard]] const Member* find(NodeId node) const;
  /// All that are known, dead ones too, in no order, without ourselves.
  [[nodiscard]] const std::vector<Member>& members() const { return members_; }
  /// Present ones, with ourselves.
  [[nodiscard]] std::uint32_t count() const { return present_ + 1; }
  /// Grows with each join and leave, and is never behind what others say.
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  /// Of the nodes present: equal in nodes that agree.
  [[nodiscard]] std::uint64_t digest() const { return digest_; }

  struct Counters {
    std::uint64_t replayed = 0;  ///< dropped: seen before, or of an earlier life
    std::uint64_t probes = 0, unanswered = 0;
    std::uint64_t syncs = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct News {
    NodeId node = 0;
    std::uint32_t told = 0;
  };
  struct Probe {
    NodeId node = 0;
    std::uint32_t token = 0;
    std::uint64_t sent_ms = 0;
    bool helped = false;
  };
  struct Helped {
    NodeId about = 0;
    Address asker;
    std::uint32_t token = 0, own_token = 0;
    std::uint64_t until_ms = 0;
  };
  struct Seed {
    Address address;
    std::uint64_t next_ms = 0;
    std::uint64_t wait_ms = 150;
  };

  // membership_packets.cc: what is received.
  bool accept_sender(const Packet& p, const Address& from, std::uint64_t now_ms);
  bool fresh(Member& m, std::uint64_t sequence);
  void on_own_number(const Packet& p, const Address& from, std::uint64_t now_ms);
  void merge(const Record& r, std::uint64_t now_ms);
  void merge_self(const Record& r, std::uint64_t now_ms);
  void merge_same_life(Member& m, const Record& r, std::uint64_t now_ms);
  void on_announce(const Packet& p, const Address& from);
  void on_ping(const Packet& p, const Address& from);
  void on_ack(const Packet& p, std::uint64_t now_ms);
  void on_ping_request(const Packet& p, const Address& from, std::uint64_t now_ms);
  void on_sync(const Packet& p, const Address& from);
  void on_records(const Packet& p, const Address& from, std::uint64_t now_ms);

  // membership.cc: the table and what is due.
  Member* get(NodeId node);
  Member& add(const Record& r, std::uint64_t now_ms);
  void drop(NodeId node);
  void become(Member& m, State state, std::uint64_t now_ms);
  void count_in(const Record& r, bool in);
  void news(NodeId node);
  void tell(Event::Kind kind, NodeId node, const Address& address);
  Packet make(Type type, NodeId about = 0, std::uint32_t token = 0);
  void add_news(Packet& p);
  void add_some(Packet& p);
  void send(const Address& to, Packet packet, Way way = Way::Unicast);
  void object(std::uint64_t version);
  void announce(std::uint64_t now_ms);
  void call_seeds(std::uint64_t now_ms);
  void probe(std::uint64_t now_ms);
  void probe_now(Member& m, std::uint64_t now_ms);
  void probe_timeouts(std::uint64_t now_ms);
  void judge_suspects(std::uint64_t now_ms);
  void visit_the_dead(std::uint64_t now_ms);
  void maybe_sync(NodeId with, const Packet& seen, std::uint64_t now_ms);
  void send_sync(NodeId with, NodeId from_node, std::uint64_t now_ms);
  [[nodiscard]] std::uint64_t suspect_time() const;
  [[nodiscard]] std::uint64_t patience() const;
  [[nodiscard]] std::uint32_t tellings() const;
  NodeId random_present(NodeId but);
  std::uint64_t random();
  std::uint32_t below(std::uint64_t n) { return static_cast<std::uint32_t>((random() >> 32) * n >> 32); }
  [[nodiscard]] bool knows_address(const Address& a) const;

  Record self_;
  MembershipKnobs knobs_;
  std::uint64_t random_;
  std::uint64_t sequence_ = 0;
  std::uint64_t epoch_ = 1;
  std::uint64_t digest_ = 0;
  std::array<std::uint32_t, kBuckets> buckets_{};
  std::uint32_t present_ = 0;
  std::vector<Member> members_;
  std::vector<std::uint32_t> index_;  ///< by number: where in members_
  std::vector<NodeId> order_;         ///< whom to probe, shuffled each round
  std::size_t turn_ = 0;
  std::deque<News> news_;
  std::vector<NodeId> suspects_;                             ///< may name some that are suspect no more
  std::vector<std::pair<NodeId, std::uint64_t>> deadlines_;  ///< of doubted ones, earlier than the usual
  std::vector<Probe> probes_;
  std::vector<Helped> helped_;
  std::vector<Seed> seeds_;
  std::vector<std::byte> load_;
  std::vector<Outgoing> out_;
  std::vector<Event> events_;
  std::uint64_t next_announce_ms_ = 0, announce_wait_ms_ = 0, next_probe_ms_ = 0, changed_ms_ = 0;
  std::uint64_t next_visit_ms_ = 0, died_ms_ = 0, next_sync_ms_ = 0, sync_until_ms_ = 0, next_forget_ms_ = 0;
  std::uint64_t next_question_ms_ = 0, claim_told_ms_ = 0, started_ms_ = 0;
  NodeId sync_with_ = 0;
  std::uint32_t announced_ = 0, next_token_ = 1;
  bool started_ = false, leaving_ = false;
  bool catching_up_ = false;  ///< what is learnt now others know already: it is no news
  Counters counters_;
};

}  // namespace hpcvmm::net::discovery
