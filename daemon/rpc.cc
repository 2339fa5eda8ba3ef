#include "daemon/rpc.hh"

#include <utility>
#include <vector>

namespace hpcvmm::daemon {

using wire::local::Node;

namespace {
constexpr std::size_t kMaxText = 32U << 20;
constexpr std::size_t kMaxParts = 256;
}  // namespace

void Rpc::ask(Node to, std::string_view text, std::uint64_t timeout_ms, OnAnswer on_answer) {
  const std::uint64_t id = next_++;
  asked_[id] = {to, timeout_ms, now_ms_ + timeout_ms, std::move(on_answer)};
  peer::Rpc head;
  head.id = id;
  head.kind = peer::RpcKind::Request;
  if (!outbox_.send_rpc(to, head, text)) lose(id, "node " + std::to_string(to) + " is down");
}

void Rpc::lose(std::uint64_t id, const std::string& why) {
  const auto found = asked_.find(id);
  if (found == asked_.end()) return;
  const OnAnswer on_answer = std::move(found->second.on_answer);
  asked_.erase(found);
  on_answer(Kind::Lost, why);
}

void Rpc::on_message(Node from, const peer::RpcMessage& m) {
  const bool question = m.head.kind == peer::RpcKind::Request;
  const auto key = std::tuple(from, question, m.head.id);
  auto part = parts_.find(key);
  if (part == parts_.end() && m.head.more != 0 && parts_.size() >= kMaxParts) return;
  std::string text = part == parts_.end() ? std::string() : std::move(part->second);
  if (part != parts_.end()) parts_.erase(part);
  if (text.size() + m.text.size() > kMaxText) return;  // the asker's timeout ends it
  text += m.text;
  if (m.head.more != 0) {
    parts_[key] = std::move(text);
    return;
  }
  if (question) {
    const std::uint64_t id = m.head.id;
    on_question_(from, text, [this, from, id](const std::string& answer, bool final) {
      peer::Rpc head;
      head.id = id;
      head.kind = final ? peer::RpcKind::Final : peer::RpcKind::Progress;
      outbox_.send_rpc(from, head, answer);
    });
    return;
  }
  const auto found = asked_.find(m.head.id);
  if (found == asked_.end() || found->second.to != from) return;  // too late
  if (m.head.kind == peer::RpcKind::Progress) {
    found->second.deadline_ms = now_ms_ + found->second.timeout_ms;
    const OnAnswer on_answer = found->second.on_answer;
    on_answer(Kind::Progress, text);
    return;
  }
  const OnAnswer on_answer = std::move(found->second.on_answer);
  asked_.erase(found);
  on_answer(Kind::Final, text);
}

void Rpc::on_peer_down(Node node, const std::string& why) {
  std::erase_if(parts_, [node](const auto& p) { return std::get<0>(p.first) == node; });
  std::vector<std::uint64_t> lost;
  for (const auto& [id, a] : asked_)
    if (a.to == node) lost.push_back(id);
  for (const std::uint64_t id : lost) lose(id, why);
}

void Rpc::tick(std::uint64_t now_ms) {
  now_ms_ = now_ms;
  std::vector<std::uint64_t> late;
  for (const auto& [id, a] : asked_)
    if (a.deadline_ms < now_ms) late.push_back(id);
  for (const std::uint64_t id : late)
    lose(id, "node " + std::to_string(asked_.at(id).to) + " did not answer in time");
}

bool Rpc::waits_for(Node node) const {
  for (const auto& [id, asked] : asked_)
    if (asked.to == node) return true;
  return false;
}

}  // namespace hpcvmm::daemon
