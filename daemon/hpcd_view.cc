// The requests about where in the cluster's CPUs a process may run (sched_setaffinity, taskset).
#include <cerrno>
#include <charconv>

#include "daemon/hpcd.hh"
#include "guest-agent/view/cpu_text.hh"

namespace hpcvmm::daemon {

using nlohmann::json;
namespace local = wire::local;

namespace {

/// The process that a thread belongs to, 0: there is none.
pid_t process_of(pid_t thread) {
  const std::string status = read_small("/proc/" + std::to_string(thread) + "/status");
  const std::size_t at = status.find("\nTgid:\t");
  pid_t pid = 0;
  if (at != std::string::npos) std::from_chars(status.data() + at + 7, status.data() + status.size(), pid);
  return pid;
}

std::string text_of(const wire::view::CpuSet& cpus) { return cpus.empty() ? "all" : view::cpu_list(cpus); }

}  // namespace

void Hpcd::handle_affinity(const Request& r, uid_t caller, const Answer& answer) {
  Session* s = sessions_.find_deputy(r.pid);
  if (s == nullptr) s = sessions_.find_deputy(process_of(r.pid));
  if (s == nullptr)
    return answer(refusal(ESRCH, "process " + std::to_string(r.pid) + " is not managed by hpc-vmm here"),
                  true);
  if (r.cpus.empty()) return answer({{"ok", true}, {"cpus", text_of(s->affinity)}}, true);
  if (caller != 0 && caller != s->uid)
    return answer(refusal(EPERM, "process " + std::to_string(s->pid) + " belongs to another user"), true);
  wire::view::CpuSet wanted;
  if (r.cpus != "all" && (!view::parse_cpu_list(r.cpus, wanted) || wanted.empty()))
    return answer(refusal(EINVAL, "`cpus` is no list of CPUs such as 0-3,5"), true);
  const wire::view::CpuSet online = view_.online();
  if (!wanted.empty() && wanted.with(online).empty())
    return answer(
        refusal(EINVAL, "no CPU of " + r.cpus + " is online; /sys/devices/system/cpu/online has them"), true);
  if (wanted.with(online) == online) wanted = {};
  const wire::view::CpuSet before = std::exchange(s->affinity, wanted);
  if (!r.own) {
    local::Affinity m;
    m.cpus = wanted;
    sessions_.send(*s, m);
  }
  const Node where = s->state.where != 0 ? s->state.where : config_.node;
  const std::vector<Node> nodes = view_.nodes_of(wanted);
  const json done = {{"ok", true}, {"cpus", text_of(wanted)}};
  if (view_.allows(wanted, where)) return answer(done, true);
  if (nodes.empty()) {
    s->affinity = before;
    return answer(refusal(EINVAL, "the nodes of these CPUs take nobody now"), true);
  }
  Request move;
  move.op = Request::Op::Migrate;
  move.pid = s->pid;
  move.to = nodes.front();
  const SessionId id = s->id;
  moves_.start(*s, move, caller, now_ms_, [this, id, before, answer, done](const json& moved, bool final) {
    if (!final) return;
    if (moved.value("ok", false)) return answer(done, true);
    if (Session* const again = sessions_.find(id); again != nullptr) again->affinity = before;
    answer(moved, true);
  });
}

}  // namespace hpcvmm::daemon
