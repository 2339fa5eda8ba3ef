#include "daemon/moves.hh"

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "daemon/facts.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

using nlohmann::json;
namespace local = wire::local;

namespace {
/// Far longer than any move whose deputy lives takes; it is told to nobody but the one who asks.
constexpr std::uint64_t kMoveMs = 600'000;

json done_json(const local::MoveDone& m, std::int32_t pid, Node from) {
  const local::MoveFigures& f = m.figures;
  return {{"ok", true},
          {"pid", pid},
          {"from", from},
          {"where", m.where},
          {"downtime_us", f.downtime_us},
          {"total_ms", static_cast<double>(f.total_us) / 1000},
          {"pages", f.pages_warm + f.pages_pushed + f.pages_faulted + f.pages_zero + f.pages_known},
          {"bytes", f.bytes},
          {"pages_warm", f.pages_warm},
          {"pages_pushed", f.pages_pushed},
          {"pages_faulted", f.pages_faulted},
          {"pages_zero", f.pages_zero},
          {"pages_known", f.pages_known}};
}
}  // namespace

json refusal(int code, const std::string& why) {
  const char* const name = ::strerrorname_np(code);
  return {{"ok", false}, {"code", name != nullptr ? name : std::to_string(code)}, {"error", why}};
}

void Moves::start(Session& s, const Request& r, uid_t caller, std::uint64_t now_ms, Answer answer) {
  const Node self = members_.self();
  const Node from = s.state.where != 0 ? s.state.where : self;
  const Node to = r.to != 0 ? r.to : self;
  const std::string name = "process " + std::to_string(s.pid);
  if (caller != 0 && caller != s.uid)
    return answer(refusal(EPERM, name + " belongs to another user: only that user and root may move it"),
                  true);
  for (const auto& [id, p] : moves_)
    if (p.session == s.id) return answer(refusal(EBUSY, name + " is being moved already; try again"), true);
  if (to != self && to != from)
    if (const std::string why = members_.cannot_take(to); !why.empty())
      return answer(refusal(EHOSTDOWN, why), true);
  const std::uint64_t id = next_++;
  Pending p;
  p.session = s.id;
  p.request = r;
  p.to = to;
  p.from = from;
  // What it holds is what moves; how much of it is on another node is known from the way there.
  p.expected_bytes = from == self ? process_facts(s.pid).resident : s.bytes_away;
  p.answer = std::move(answer);
  p.start_ms = now_ms;
  p.deadline_ms = now_ms + kMoveMs;
  moves_.emplace(id, std::move(p));
  local::Move m;
  m.request = id;
  m.node = to;
  m.mode = r.mode;
  sessions_.send(s, m);
}

void Moves::finish(std::uint64_t id, const json& answer) {
  const auto found = moves_.find(id);
  if (found == moves_.end()) return;
  const Pending p = std::move(found->second);
  moves_.erase(found);
  if (answer.at("ok") == true) {
    ++done_;
    log::info("moved", {{"pid", p.request.pid},
                        {"from", p.from},
                        {"to", p.to},
                        {"downtime_us", answer.at("downtime_us").get<std::uint64_t>()},
                        {"total_ms", answer.at("total_ms").get<double>()}});
  } else {
    ++failed_;
    log::warning("not moved", {{"pid", p.request.pid},
                               {"from", p.from},
                               {"to", p.to},
                               {"why", answer.at("error").get<std::string>()}});
  }
  p.answer(answer, true);
}

void Moves::on_done(Session& s, const local::MoveDone& m) {
  const auto found = moves_.find(m.request);
  if (found == moves_.end() || found->second.session != s.id) return;
  const Pending& p = found->second;
  if (m.code != 0) {
    const std::string why = get_text(m.why);
    return finish(m.request, refusal(m.code, "process " + std::to_string(s.pid) + " was not moved: " +
                                                 (why.empty() ? std::strerror(m.code) : why)));
  }
  local::MoveDone done = m;
  if (done.where == 0) done.where = members_.self();
  if (done.where != members_.self()) s.bytes_away = done.figures.bytes;
  finish(m.request, done_json(done, s.pid, p.from));
}

void Moves::on_gone(const Session& s, const std::string& why) {
  std::vector<std::uint64_t> ended;
  for (const auto& [id, p] : moves_)
    if (p.session == s.id) ended.push_back(id);
  for (const std::uint64_t id : ended)
    finish(id,
           refusal(ESRCH, "process " + std::to_string(s.pid) + " ended before it had moved (" + why + ")"));
}

void Moves::tick(std::uint64_t now_ms, const std::function<std::uint64_t(SessionId)>& bytes) {
  std::vector<std::uint64_t> late;
  std::vector<std::pair<Answer, json>> progress;
  for (auto& [id, p] : moves_) {
    if (p.deadline_ms < now_ms) late.push_back(id);
    const std::uint64_t now_bytes = bytes(p.session);
    if (!std::exchange(p.counted, true)) p.start_bytes = now_bytes;
    const std::uint64_t moved = now_bytes > p.start_bytes ? now_bytes - p.start_bytes : 0;
    progress.emplace_back(
        p.answer,
        json{{"progress", {{"ms", now_ms - p.start_ms}, {"bytes", moved}, {"of", p.expected_bytes}}}});
  }
  for (const auto& [answer, text] : progress) answer(text, false);
  for (const std::uint64_t id : late)
    finish(id, refusal(ETIMEDOUT, "the process did not answer for ten minutes"));
}

}  // namespace hpcvmm::daemon
