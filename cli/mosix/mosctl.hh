// mosctl: orders to a node, and questions about nodes, as openMosix had them.
#pragma once

#include <string>
#include <vector>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// openMosix's speed of the reference CPU: its number for what is 1.0 here.
inline constexpr double kOldSpeed = 10000;

struct MosctlPlan {
  enum class Show : std::uint8_t {
    Nothing,
    Tune,
    Yard,
    Decay,
    Whois,
    Load,
    Speed,
    Status,
    IsUp,
    Memory,
    Free,
    Util,
    SetYard,
  };
  std::string error;       ///< empty, or what is wrong; nothing else counts then
  nlohmann::json request;  ///< for hpcd
  Show show = Show::Nothing;
  bool waits = false;    ///< until a node is empty: no end of patience
  std::string argument;  ///< of whois and setyard
  unsigned node = 0;     ///< of the queries; 0: the one that is asked
};

/// `words`: behind the name.  Pure.
MosctlPlan plan_mosctl(const std::vector<std::string>& words);

struct MosctlText {
  std::string out, error;
  int status = 0;
};
/// What is printed for an answer that was not refused.  Units: `yard` is the speed of the yardstick, 1 the
/// reference.  Pure.
MosctlText mosctl_text(const MosctlPlan& plan, const nlohmann::json& answer, double yard);

int mosctl_main(int argc, char** argv);
Page mosctl_page();

/// migrate PID {NODE|home|balance}.
int old_migrate_main(int argc, char** argv);
Page old_migrate_page();

}  // namespace hpcvmm::cli
