// Questions from node to node: a text, any number of progress texts, a final one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "daemon/outbox.hh"
#include "daemon/peer_message.hh"

namespace hpcvmm::daemon {

/// Threads: one.
class Rpc {
 public:
  enum class Kind : std::uint8_t {
    Progress,
    Final,
    Lost
  };  ///< Lost: no final answer will come; the text says why
  using OnAnswer = std::function<void(Kind, const std::string& text)>;
  /// Answers a question: call with false for progress, once with true.
  using Reply = std::function<void(const std::string& text, bool final)>;
  using OnQuestion = std::function<void(wire::local::Node from, const std::string& text, Reply)>;

  Rpc(Outbox& outbox, OnQuestion on_question) : outbox_(outbox), on_question_(std::move(on_question)) {}

  /// Lost comes at the latest after `timeout_ms`, counted from the last progress.  It may come from within.
  void ask(wire::local::Node to, std::string_view text, std::uint64_t timeout_ms, OnAnswer on_answer);

  void on_message(wire::local::Node from, const peer::RpcMessage& m);
  void on_peer_down(wire::local::Node node, const std::string& why);
  void tick(std::uint64_t now_ms);
  [[nodiscard]] std::size_t pending() const { return asked_.size(); }
  /// Whether an answer of that node is still to come.
  [[nodiscard]] bool waits_for(wire::local::Node node) const;

 private:
  struct Asked {
    wire::local::Node to = 0;
    std::uint64_t timeout_ms = 0, deadline_ms = 0;
    OnAnswer on_answer;
  };
  void lose(std::uint64_t id, const std::string& why);

  Outbox& outbox_;
  OnQuestion on_question_;
  std::map<std::uint64_t, Asked> asked_;
  /// Texts of which more is to come, by node and by who asked.
  std::map<std::tuple<wire::local::Node, bool, std::uint64_t>, std::string> parts_;
  std::uint64_t next_ = 1, now_ms_ = 0;
};

}  // namespace hpcvmm::daemon
