// Calls whose answer is about the machine: its CPUs and memory.  Without a view of the cluster the host
// answers.
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "guest-agent/view/cpu_text.hh"
#include "vmm/deputy/calls.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;
using wire::view::Cluster;
using wire::view::CpuSet;
using wire::view::Node;

namespace {

/// Bytes that a mask of the view has.
std::size_t mask_bytes(const Cluster& c) { return (c.cpu_ids + 63) / 64 * 8; }

/// Asks the hpcd of the home node: one line, one answer; progress lines are skipped.  Empty: nobody answered.
std::string ask_hpcd(const std::string& question) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/../api.sock", view_fd());
  const std::int64_t fd = raw_call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  const auto socket = static_cast<std::uint64_t>(fd);
  std::string line;
  const timeval limit{60, 0};
  raw_call(SYS_setsockopt, socket, SOL_SOCKET, SO_RCVTIMEO, word(&limit), sizeof limit);
  if (raw_call(SYS_connect, socket, word(&to), sizeof to) == 0 &&
      raw_call(SYS_sendto, socket, word(question.data()), question.size(), MSG_NOSIGNAL) > 0) {
    std::array<char, 1024> piece;
    for (;;) {
      const std::int64_t n = raw_call(SYS_recvfrom, socket, word(piece.data()), piece.size(), 0);
      // A signal of the guest's has been recorded; the move that was asked for must end all the same.
      if (n == -EINTR) continue;
      if (n <= 0) break;
      line.append(piece.data(), static_cast<std::size_t>(n));
      if (const std::size_t at = line.rfind("\"ok\":"); at != std::string::npos && line.ends_with('\n'))
        break;
    }
  }
  raw_call(SYS_close, socket);
  return line;
}

/// The value of a string member of an answer.
std::string member(const std::string& answer, const char* key) {
  const std::string head = std::string("\"") + key + "\":\"";
  const std::size_t at = answer.find(head);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + head.size();
  return answer.substr(begin, answer.find('"', begin) - begin);
}

/// 0, or the errno that the answer means.
int error_of(const std::string& answer) {
  if (answer.find("\"ok\":true") != std::string::npos) return 0;
  const std::string code = member(answer, "code");
  if (code == "ESRCH") return ESRCH;
  if (code == "EINVAL") return EINVAL;
  return EPERM;
}

std::string affinity_question(std::int64_t pid, const CpuSet* cpus, bool own) {
  std::string q = "{\"op\":\"affinity\",\"pid\":" + std::to_string(pid);
  if (cpus != nullptr) q += ",\"cpus\":\"" + (cpus->empty() ? "all" : view::cpu_list(*cpus)) + "\"";
  if (own) q += ",\"own\":true";
  return q + "}\n";
}

/// A thread of this process; nullptr: another process's.  Under the process's lock.
Task* find_thread_locked(Task& t, std::int64_t tid) {
  if (tid == 0 || tid == t.tid) return &t;
  for (Task* const other : t.process->tasks)
    if (other->tid == tid) return other;
  return nullptr;
}

/// What binds the whole process: it can be on one node only, so what all threads agree on, else what the
/// first one wants.
CpuSet process_affinity_locked(const Process& p, const CpuSet& online) {
  CpuSet all = online;
  for (const Task* const t : p.tasks)
    if (t->affinity != nullptr) all = all.with(*t->affinity);
  if (all.empty() && !p.tasks.empty() && p.tasks.front()->affinity != nullptr)
    all = *p.tasks.front()->affinity;
  return all == online ? CpuSet{} : all;
}

/// Native programs (set-user-ID ones) are at home and the host's.
SysRet get_of_native(const Cluster& c, std::int64_t pid, CpuSet& set) {
  std::array<std::uint64_t, 128> host{};
  const std::int64_t rc =
      raw_call(SYS_sched_getaffinity, static_cast<std::uint64_t>(pid), sizeof host, word(host.data()));
  const Node* const home = find_node(c, c.own_node);
  if (rc < 0) return SysRet::raw(rc);
  for (unsigned i = 0; home != nullptr && i < home->cpus; ++i)
    if ((host[i / 64] >> (i % 64) & 1) != 0) set.add(home->first_cpu + i);
  return SysRet::ok();
}

SysRet set_of_native(const Cluster& c, std::int64_t pid, const CpuSet& set) {
  std::array<std::uint64_t, 128> host{};
  const Node* const home = find_node(c, c.own_node);
  bool any = false;
  for (unsigned i = 0; home != nullptr && i < home->cpus; ++i) {
    if (!set.has(home->first_cpu + i)) continue;
    host[i / 64] |= std::uint64_t{1} << (i % 64);
    any = true;
  }
  if (!any) return SysRet::fail(EINVAL);
  return SysRet::raw(
      raw_call(SYS_sched_setaffinity, static_cast<std::uint64_t>(pid), sizeof host, word(host.data())));
}

/// Binds a thread of this process and goes where that demands.
int bind_own(Task& t, std::int64_t tid, const CpuSet& wanted, const CpuSet& online) {
  CpuSet whole;
  std::unique_ptr<CpuSet> before;
  {
    const mem::LockGuard guard(t.process->lock);
    Task* const thread = find_thread_locked(t, tid);
    if (thread == nullptr) return ESRCH;
    before = std::exchange(thread->affinity, std::make_unique<CpuSet>(wanted));
    whole = process_affinity_locked(*t.process, online);
    // A vfork child goes where it must when it executes its program.
    if (whole == t.process->told_affinity || t.vfork_child) return 0;
    t.process->told_affinity = whole;
  }
  if (!home_of(t).joined()) return 0;
  const std::string answer = ask_hpcd(affinity_question(raw_call(SYS_getpid), &whole, true));
  const int error = error_of(answer);
  if (error == 0) return 0;
  const mem::LockGuard guard(t.process->lock);
  if (Task* const thread = find_thread_locked(t, tid); thread != nullptr)
    thread->affinity = std::move(before);
  t.process->told_affinity = process_affinity_locked(*t.process, online);
  return error == ESRCH ? EINVAL : error;
}

struct Info64 {
  std::int64_t uptime;
  std::uint64_t loads[3], total, free, shared, buffer, swap_total, swap_free;
  std::uint16_t procs, pad;
  std::uint64_t total_high, free_high;
  std::uint32_t unit;
};
struct Info32 {
  std::int32_t uptime;
  std::uint32_t loads[3], total, free, shared, buffer, swap_total, swap_free;
  std::uint16_t procs, pad;
  std::uint32_t total_high, free_high, unit;
  char reserved[8];
};
static_assert(sizeof(Info64) == 112 && sizeof(Info32) == 64);

}  // namespace

SysRet call_sched_getaffinity(const CallContext& c) {
  Cluster cluster;
  if (!read_cluster(cluster)) return pass(c);
  const std::uint64_t bytes = c.arg(1) & 0xffff'ffffU;
  const std::uint64_t unit = c.abi == Abi::X64 ? 8 : 4;
  if (bytes * 8 < cluster.cpu_ids || bytes % unit != 0) return SysRet::fail(EINVAL);
  const std::int64_t tid = c.as_int(0);
  if (tid < 0) return SysRet::fail(EINVAL);
  CpuSet set;
  bool own = false;
  {
    const mem::LockGuard guard(c.task.process->lock);
    if (const Task* const thread = find_thread_locked(c.task, tid); thread != nullptr) {
      set = effective_affinity(thread->affinity.get(), cluster);
      own = true;
    }
  }
  if (!own) {
    const std::string answer = ask_hpcd(affinity_question(tid, nullptr, false));
    if (error_of(answer) == 0) {
      CpuSet theirs;
      const std::string list = member(answer, "cpus");
      const bool bound = list != "all" && view::parse_cpu_list(list, theirs);
      set = effective_affinity(bound ? &theirs : nullptr, cluster);
    } else if (const SysRet rc = get_of_native(cluster, tid, set); rc.is_error()) {
      return rc;
    }
  }
  const std::size_t n = std::min<std::size_t>(bytes, mask_bytes(cluster));
  if (!mem::copy_out(c.arg(2), set.words.data(), n)) return SysRet::fail(EFAULT);
  return SysRet::ok(n);
}

SysRet call_sched_setaffinity(const CallContext& c) {
  Cluster cluster;
  if (!read_cluster(cluster)) return pass(c);
  CpuSet asked;
  const std::size_t bytes = std::min<std::size_t>(c.arg(1) & 0xffff'ffffU, sizeof asked.words);
  if (!mem::copy_in(asked.words.data(), c.arg(2), bytes)) return SysRet::fail(EFAULT);
  const CpuSet online = online_cpus(cluster);
  const std::int64_t tid = c.as_int(0);
  bool own = false;
  {
    const mem::LockGuard guard(c.task.process->lock);
    own = find_thread_locked(c.task, tid) != nullptr;
  }
  if (own) {
    if (asked.with(online).empty()) return SysRet::fail(EINVAL);
    const int error = bind_own(c.task, tid, asked, online);
    return error == 0 ? SysRet::ok() : SysRet::fail(error);
  }
  const int error = error_of(ask_hpcd(affinity_question(tid, &asked, false)));
  if (error == ESRCH) return set_of_native(cluster, tid, asked);
  return error == 0 ? SysRet::ok() : SysRet::fail(error);
}

SysRet call_getcpu(const CallContext& c) {
  Cluster cluster;
  if (!read_cluster(cluster)) return pass(c);
  const Node* const node = find_node(cluster, own_place(c.task, cluster));
  if (node == nullptr) return pass(c);
  std::uint32_t host = 0;
  raw_call(SYS_getcpu, word(&host), 0, 0);
  const std::unique_ptr<CpuSet> affinity = copy_affinity(c.task);
  const std::uint32_t cpu = cpu_in_view(*node, host, affinity.get());
  if (c.arg(0) != 0 && !mem::put(c.arg(0), cpu)) return SysRet::fail(EFAULT);
  if (c.arg(1) != 0 && !mem::put(c.arg(1), node->id)) return SysRet::fail(EFAULT);
  return SysRet::ok();
}

SysRet call_sysinfo(const CallContext& c) {
  Cluster cluster;
  if (!read_cluster(cluster)) return pass(c);
  Info64 info{};
  raw_call(SYS_sysinfo, word(&info));  // the time since start is the home's
  info = {info.uptime,
          {cluster.loads[0], cluster.loads[1], cluster.loads[2]},
          cluster.memory_total,
          cluster.memory_free,
          cluster.memory_shared,
          cluster.memory_buffers,
          cluster.swap_total,
          cluster.swap_free,
          static_cast<std::uint16_t>(std::min(cluster.processes, 65535U)),
          0,
          0,
          0,
          1};
  if (c.abi == Abi::X64) return mem::put(c.arg(0), info) ? SysRet::ok() : SysRet::fail(EFAULT);
  // As the kernel: in units of a page where bytes need more than 32 bits.  Source: compat_sysinfo().
  const unsigned shift = (info.total >> 32) != 0 || (info.swap_total >> 32) != 0 ? 12 : 0;
  const auto word32 = [shift](std::uint64_t v) { return static_cast<std::uint32_t>(v >> shift); };
  Info32 small{};
  small.uptime = static_cast<std::int32_t>(info.uptime);
  for (std::size_t i = 0; i < 3; ++i) small.loads[i] = static_cast<std::uint32_t>(info.loads[i]);
  small.total = word32(info.total);
  small.free = word32(info.free);
  small.shared = word32(info.shared);
  small.buffer = word32(info.buffer);
  small.swap_total = word32(info.swap_total);
  small.swap_free = word32(info.swap_free);
  small.procs = info.procs;
  small.unit = 1U << shift;
  return mem::put(c.arg(0), small) ? SysRet::ok() : SysRet::fail(EFAULT);
}

}  // namespace hpcvmm::deputy
