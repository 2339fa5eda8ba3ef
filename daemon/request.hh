// Requests of the API socket and between nodes: one JSON object each.  Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "daemon/config.hh"
#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

struct Request {
  enum class Op : std::uint8_t {
    Nodes,
    Ps,
    Find,
    Migrate,
    Evict,
    Drain,
    Resume,
    Shutdown,
    Faults,
    Metrics,
    Ctl,
    Process,
    Why,
    Move,  ///< from the node where it runs to its home: move it
    Affinity,
  };
  Op op = Op::Nodes;
  std::int32_t pid = 0;  ///< at its home
  Node home = 0;         ///< of the process; 0: whichever node has it
  Node to = 0;           ///< Migrate: 0: home
  wire::local::Mode mode = wire::local::Mode::Hybrid;
  std::string spec;       ///< Faults
  std::string cpus;       ///< Affinity: "0-3,5", "all"; empty: only asks
  bool own = false;       ///< Affinity: the process itself asks and knows the answer
  Node node = 0;          ///< Ctl, Drain, Resume: whose; 0: the asked one's
  std::string set;        ///< Ctl, Process, Move: a JSON object
  bool balance = false;   ///< Migrate: the balancer chooses where to
  bool wait = true;       ///< Drain, expel, bring: answer when nobody is left
  bool mappings = false;  ///< Ps: with the memory that they share
  bool clear = false;     ///< Process: forget its statistics
  Node asker = 0;         ///< the node that asked; not in the text
  bool local = false;     ///< asked by another node: this node's own part only
  uid_t uid = 0;          ///< Asked by another node: on whose behalf
};

/// The longest request, bytes.
inline constexpr std::size_t kMaxRequest = 16384;

/// Unknown keys and wrong types are refused by name.
std::variant<Request, Refusal> parse_request(std::string_view text);
/// parse_request(request_text(r)) is r.
std::string request_text(const Request& r);

const char* op_name(Request::Op op);

}  // namespace hpcvmm::daemon
