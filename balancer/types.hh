// What the balancer knows and what it answers: plain values, filled by hpcd or by the simulator.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hpcvmm::balancer {

using NodeId = std::uint32_t;  ///< number of a node in the cluster; 0 is no node
using ProcessId = std::uint64_t;
inline constexpr NodeId kNoNode = 0;

/// Orders of people about a whole node, as mosctl had them; any number may hold at once.
inline constexpr std::uint8_t kStay = 1;       ///< no automatic move out
inline constexpr std::uint8_t kLocalStay = 2;  ///< processes at home here stay; guests may leave (lstay)
inline constexpr std::uint8_t kBlock = 4;      ///< no guests come in
inline constexpr std::uint8_t kQuiet = 8;      ///< sends no load information
inline constexpr std::uint8_t kExpel = 16;     ///< guests leave; acts as block
inline constexpr std::uint8_t kBring = 32;     ///< processes that are at home here come back; acts as lstay
inline constexpr std::uint8_t kDrain = 64;     ///< everything leaves, local processes too; acts as block

/// What one node says about itself; what gossip carries.  56 bytes: 100 000 simulated nodes keep 32 each.
struct NodeLoad {
  NodeId node = kNoNode;
  std::uint32_t epoch = 0;     ///< grows when the node restarts: an older life never overwrites a newer one
  double measured_s = 0;       ///< when, on the knower's own clock; its age is now - measured_s
  float speed = 1;             ///< of one CPU; 1 is the reference CPU
  float run_queue = 0;         ///< runnable threads, decayed average
  float urgency = 0;           ///< sum of the urgency() of its runnable processes
  float utilisation = 0;       ///< busy share of all CPUs, 0 to 1
  float paging = 0;            ///< share of time some thread waited for memory (PSI "some"), 0 to 1
  float network_bytes_ps = 0;  ///< sent and received, bytes per second
  float io_bytes_ps = 0;       ///< read and written by what is at home there, bytes per second
  float total_mib = 1;         ///< memory, MiB
  float free_mib = 1;          ///< free, MiB; below 0: over-committed by that much
  std::uint16_t cpus = 1;
  std::uint8_t orders = 0;    ///< bits kStay to kDrain
  bool owner_active = false;  ///< its owner uses it now
};
static_assert(sizeof(NodeLoad) == 56);

enum class Kind : std::uint8_t { Measured, CpuJob, IoJob };  ///< IoJob, CpuJob: declared by the user
enum class MaskMode : std::uint8_t { None, Allow, Deny };

/// Traffic of a process with another one: the gang hint.
struct Partner {
  NodeId node = kNoNode;  ///< where the pipe or socket between them is: at home, wherever the two run
  float messages_ps = 0;  ///< per second of running
};

struct Process {
  ProcessId id = 0;
  NodeId home = kNoNode;
  float cpu_use = 1;        ///< runnable threads, decayed average
  float cpu_used_s = 0;     ///< CPU time since start, in seconds of the reference CPU
  float resident_s = 0;     ///< since it came to this node
  std::uint32_t moves = 0;  ///< it has made
  float working_set_mib = 0;
  float home_calls_ps = 0;  ///< calls forwarded home (or that would be) per second of running
  float home_mib_ps = 0;    ///< data of those calls, MiB per second of running
  float round_trip_s = 0;   ///< what the way of one of its calls home costs, as measured; 0: the knob's
  Kind kind = Kind::Measured;
  bool locked = false;  ///< a person's lock: no automatic move
  bool home_only = false;
  bool cannot_move = false;  ///< the VMM says so (ps: cantmove)
  bool moving = false;       ///< a move of it is under way
  NodeId run_on = kNoNode;   ///< a person named its node
  MaskMode mask_mode = MaskMode::None;
  std::span<const NodeId> mask;  ///< sorted; lives as long as the View
  std::span<const Partner> partners;
};

/// All a node knows at one moment.
struct View {
  double now_s = 0;
  NodeLoad own;                      ///< exact, of this moment
  std::span<const NodeLoad> others;  ///< any order, never the own node
  std::span<const Process> processes;
  std::uint32_t moves_in_flight = 0;  ///< out of this node
};

enum class Policy : std::uint8_t { Mosix, Static, RoundRobin, Random };

/// Every number the decision depends on.  Defaults are for a LAN of a few Gbit/s.
struct Knobs {
  double hysteresis = 0.15;  ///< a move must save this share of the cost of staying
  double min_gain_stretch =
      0.05;                ///< and this much slowdown of the process itself, in multiples of running alone
  double residency_s = 3;  ///< a process that came stays so long, but for memory and people
  double residency_share = 0.5;   ///< ... and this share of its CPU time: its age doubles between two moves
  double residency_growth = 2.5;  ///< each further move makes the least stay so many times as long
  double min_age_s = 1;  ///< younger processes do not move: most end before it pays (starved_s() in rules.hh)
  double stale_after_s = 20;      ///< older information is not used at all
  double staleness_per_s = 0.02;  ///< cost of a node grows by this share per second of age of what is known
  double urgency_floor_s = 2;     ///< see urgency()
  double thrash_factor = 10;      ///< slowdown of a node that pages
  double memory_high = 0.95;      ///< share of memory in use from which it counts as short
  double memory_log_base = 1.79;  ///< ln of the base of memory's opportunity cost, base^(used/total); base 6
  double memory_weight = 0.02;    ///< share of that cost against the cost of CPU time
  double paging_high = 0.10;      ///< PSI share from which memory ushering begins
  double reserve_mib = 64;        ///< left free at a destination
  double round_trip_s = 100e-6;   ///< of a call that goes home, where nobody has measured it
  double call_cpu_s = 60e-6;      ///< CPU time of such a call, at home and where the process runs, each
  double losing = 1;              ///< waits for calls, per second of running, from which it may go home young
  double losing_after_s = 1;      ///< ... when it has been there so long
  double partner_weight = 0.5;    ///< a partner waits for a message too: share of that which counts
  double io_weight = 1;           ///< of the time that data of calls take
  double bandwidth_mib_ps = 600;  ///< between nodes; 0: a move costs nothing
  double freeze_s = 0.01;         ///< time a process stands still while it moves
  double io_job_calls_ps = 2000;  ///< least rate of home calls assumed of a declared iojob
  std::uint32_t max_out = 2;      ///< moves in flight out of one node
  std::uint32_t max_in = 2;       ///< and into one
  double reservation_s = 10;      ///< a promise to take a process lapses after that
  bool owner_priority = true;     ///< guests leave a node whose owner is active
};

enum class Reason : std::uint8_t {
  Stay,
  LowerCost,
  Memory,
  Owner,
  Expelled,
  Drained,
  Brought,
  RunOn,
  HomeOnly,
  Placed
};
/// What kept a process from going to the best node.
enum class Forbidden : std::uint8_t {
  Nothing,
  Locked,
  CannotMove,
  Moving,
  NodeStays,
  LocalStays,
  TooYoung,
  Residency,
  InFlight,
  Blocked,
  Masked,
  NoMemory,
  Owner,
  Stale,
  Hysteresis,
  NoNode,
  Policy,
};

/// One process's verdict, with everything `hpc-vmm why` prints.  Costs are weighted slowdown, see cost.hh.
struct Decision {
  ProcessId process = 0;
  NodeId from = kNoNode;
  NodeId to = kNoNode;  ///< == from: stays
  Reason reason = Reason::Stay;
  Forbidden forbidden = Forbidden::Nothing;
  double stay_cost = 0;
  NodeId best = kNoNode;
  double best_cost = 0;  ///< with the move's own cost
  NodeId next_best = kNoNode;
  double next_best_cost = 0;
  double move_cost = 0;  ///< part of best_cost
  bool moves() const { return to != from && to != kNoNode; }
};

std::string_view name(Reason reason);
std::string_view name(Forbidden forbidden);
std::string_view name(Policy policy);

}  // namespace hpcvmm::balancer
