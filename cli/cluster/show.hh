// nodes, ps and migrate: what is asked of a running hpcd, and how people see the answer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

struct AskRequest {
  Names names;
  unsigned node = 1;  ///< which node's hpcd is asked
  bool json = false;
};

struct MigrateRequest {
  AskRequest ask;
  std::string process;  ///< "PID" or "HOME:PID"
  std::string to;       ///< a node's number, or "home"
  std::string mode = "hybrid";
};

struct CtlRequest {
  AskRequest ask;
  std::vector<std::string> words;  ///< a node's number, "KEY" and "KEY=VALUE" in any number
  bool wait = true;
};

struct DrainRequest {
  AskRequest ask;
  unsigned node = 0;
  bool resume = false, wait = true;
};

struct WhyRequest {
  AskRequest ask;
  std::string process;  ///< "PID" or "HOME:PID"
};

// Exit status: 0, or 1 after a message on stderr.
int show_nodes(const AskRequest& r);
int show_processes(const AskRequest& r, bool verbose);
/// 0 only if the process runs there now.
int migrate(const MigrateRequest& r);

/// Shows or changes the balancer's settings of a node.
int ctl(const CtlRequest& r);
/// Empties a node, with progress; returns when nothing is left on it that can move.  Or takes that back.
int drain(const DrainRequest& r);
/// Why a process is where it is, on one screen.
int why(const WhyRequest& r);

// Pure, for the tests.
/// The request for hpcd, or a text under "error".
nlohmann::json ctl_json(const CtlRequest& r);
std::string why_text(const nlohmann::json& why);
std::string nodes_table(const nlohmann::json& answer);
std::string processes_table(const nlohmann::json& answer, bool verbose);
/// What processes share with others, a mapping a line, and what that means for moves; empty: nothing.
std::string mappings_table(const nlohmann::json& answer);
/// "512K", "1.5G".
std::string human_bytes(std::uint64_t bytes);
/// The request for hpcd, or a text under "error".
nlohmann::json migrate_json(const MigrateRequest& r);
/// Text of /etc/passwd's kind: the name of a user, or the number.
std::string user_name(const std::string& passwd, unsigned uid);

}  // namespace hpcvmm::cli
