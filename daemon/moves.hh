// Moves that were asked for: from the request to the deputy's answer.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "daemon/members.hh"
#include "daemon/request.hh"
#include "daemon/sessions.hh"

namespace hpcvmm::daemon {

/// Answers a request: call with false for progress, once with true.
using Answer = std::function<void(const nlohmann::json& answer, bool final)>;

/// {"ok": false, "code": "EPERM", "error": why}.
nlohmann::json refusal(int code, const std::string& why);

/// Threads: one.
class Moves {
 public:
  Moves(Sessions& sessions, const Members& members) : sessions_(sessions), members_(members) {}

  /// Asks the deputy `s` to move as `r` says.  Refuses (EPERM not this user's process, EBUSY moves already,
  /// EHOSTDOWN) or answers when it has moved.
  void start(Session& s, const Request& r, uid_t caller, std::uint64_t now_ms, Answer answer);

  void on_done(Session& s, const wire::local::MoveDone& m);
  void on_gone(const Session& s, const std::string& why);
  /// Progress, and the end of what takes too long.  `bytes`: relayed so far for that process.
  void tick(std::uint64_t now_ms, const std::function<std::uint64_t(SessionId)>& bytes);
  [[nodiscard]] std::size_t pending() const { return moves_.size(); }
  [[nodiscard]] std::uint64_t done() const { return done_; }
  [[nodiscard]] std::uint64_t failed() const { return failed_; }

 private:
  struct Pending {
    SessionId session = 0;
    Request request;
    Node to = 0, from = 0;
    Answer answer;
    std::uint64_t start_ms = 0, deadline_ms = 0, start_bytes = 0;
    std::uint64_t expected_bytes = 0;  ///< about what will be moved; 0: unknown
    bool counted = false;
  };
  void finish(std::uint64_t id, const nlohmann::json& answer);

  Sessions& sessions_;
  const Members& members_;
  std::unordered_map<std::uint64_t, Pending> moves_;
  std::uint64_t next_ = 1, done_ = 0, failed_ = 0;
};

}  // namespace hpcvmm::daemon
