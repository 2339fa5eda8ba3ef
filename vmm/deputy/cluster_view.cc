#include "vmm/deputy/cluster_view.hh"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "guest-agent/view/names.hh"
#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/proc_text.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/lock.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using wire::view::Cluster;
using wire::view::CpuSet;
using wire::view::Node;
using wire::view::Shared;

namespace {

int g_view_fd = -1;  // NOLINT: set at start; host.cc moves it when the guest wants the number
struct Mapping {
  mem::Lock lock;
  const Shared* page = nullptr;
  bool tried = false;
} g_mapping;                   // NOLINT: guarded by its lock; children of fork have it, too
Process* g_process = nullptr;  // NOLINT: set at start

const Shared* map_page() {
  const std::int64_t fd = raw_call(SYS_openat, word(g_view_fd), word("page"), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  struct stat s {};
  void* at = nullptr;
  // A shorter file is another version's: reading beyond its end would be a SIGBUS of the VMM's own.
  if (raw_call(SYS_fstat, static_cast<std::uint64_t>(fd), word(&s)) == 0 &&
      s.st_size >= static_cast<off_t>(sizeof(Shared))) {
    const std::uint64_t place = mem::arena_reserve(sizeof(Shared));
    const std::int64_t rc = raw_call(SYS_mmap, place, page_up(sizeof(Shared)), PROT_READ,
                                     MAP_SHARED | MAP_FIXED, static_cast<std::uint64_t>(fd), 0);
    if (rc > 0) at = reinterpret_cast<void*>(rc);
  }
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return static_cast<const Shared*>(at);
}

const Shared* shared_page() {
  if (g_view_fd < 0) return nullptr;
  const mem::LockGuard guard(g_mapping.lock);
  if (!std::exchange(g_mapping.tried, true)) g_mapping.page = map_page();
  return g_mapping.page;
}

std::uint64_t now_ms() {
  timespec t{};
  raw_call(SYS_clock_gettime, CLOCK_MONOTONIC, word(&t));
  return static_cast<std::uint64_t>(t.tv_sec) * 1000 + static_cast<std::uint64_t>(t.tv_nsec) / 1'000'000;
}

bool exists(const char* path) { return raw_call(SYS_faccessat, word(AT_FDCWD), word(path), F_OK) == 0; }

/// A small file of the host's.
std::string host_file(const char* path) {
  std::array<char, 256> text{};
  const std::int64_t fd = raw_call(SYS_openat, word(AT_FDCWD), word(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const std::int64_t n = raw_call(SYS_read, static_cast<std::uint64_t>(fd), word(text.data()), text.size());
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return std::string(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
}

std::string link_text(const char* path) {
  std::array<char, 4096> text;
  const std::int64_t n = raw_call(SYS_readlinkat, word(AT_FDCWD), word(path), word(text.data()), text.size());
  return std::string(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
}

std::string link_of_fd(int fd) {
  std::array<char, 32> link{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  return link_text(link.data());
}

/// The path of the caller's string, absolute; empty: it cannot mean the cluster.
std::string absolute_candidate(int dir_fd, std::uint64_t guest_path) {
  std::array<char, 256> text;
  const std::ptrdiff_t n = mem::copy_in_string(text.data(), guest_path, text.size());
  if (n <= 0 || static_cast<std::size_t>(n) == text.size()) return {};
  const std::string_view path(text.data(), static_cast<std::size_t>(n));
  if (!view::may_mean_cluster(path)) return {};
  if (path[0] == '/') return std::string(path);
  const std::string base = dir_fd == AT_FDCWD ? link_text("/proc/self/cwd") : link_of_fd(dir_fd);
  if (base != "/" && !base.starts_with("/proc") && !base.starts_with("/sys")) return {};
  return base + "/" + std::string(path);
}

std::string uptime_text(const Cluster& c) {
  std::string text = host_file("/proc/uptime");
  const std::size_t blank = text.find(' ');
  if (blank == std::string::npos) return text;
  std::array<char, 64> idle{};
  std::snprintf(idle.data(), idle.size(), " %llu.%02llu\n", static_cast<unsigned long long>(c.idle_cs / 100),
                static_cast<unsigned long long>(c.idle_cs % 100));
  return text.substr(0, blank) + idle.data();
}

/// "N\n"; empty: there is no such process.
std::string where_text(const Task& t, const Cluster& c, std::int64_t pid) {
  std::uint32_t where = c.own_node;
  if (pid == 0 || pid == raw_call(SYS_getpid)) {
    where = own_place(t, c);
  } else if (wire::view::Process other{}; find_process(static_cast<std::int32_t>(pid), other)) {
    where = other.where;
  } else {
    std::array<char, 32> path{};
    std::snprintf(path.data(), path.size(), "/proc/%ld", static_cast<long>(pid));
    if (!exists(path.data())) return {};
  }
  return std::to_string(where) + "\n";
}

}  // namespace

void set_view_folder(int fd) {
  if (fd >= 0) hide_fd(fd, &g_view_fd);
}

int view_fd() { return g_view_fd; }

bool read_cluster(Cluster& c) {
  const Shared* const shared = shared_page();
  if (shared == nullptr) return false;
  if (!wire::view::look_at(*shared,
                           [&c](const wire::view::Page& p) { std::memcpy(&c, &p.cluster, sizeof c); }))
    return false;
  return c.magic == wire::view::kMagic && c.version == wire::view::kVersion &&
         c.node_count <= wire::view::kMostNodes && now_ms() - c.renewed_ms < wire::view::kStaleMs;
}

const Node* find_node(const Cluster& c, std::uint32_t id) {
  for (std::uint32_t i = 0; i < c.node_count; ++i)
    if (c.nodes[i].id == id) return &c.nodes[i];
  return nullptr;
}

CpuSet online_cpus(const Cluster& c) {
  CpuSet set;
  for (std::uint32_t i = 0; i < c.node_count; ++i)
    if (c.nodes[i].online != 0) set.add(c.nodes[i].first_cpu, c.nodes[i].cpus);
  return set;
}

bool find_process(std::int32_t pid, wire::view::Process& found) {
  const Shared* const shared = shared_page();
  if (shared == nullptr) return false;
  bool there = false;
  const bool seen = wire::view::look_at(*shared, [&](const wire::view::Page& p) {
    const std::uint32_t count = std::min(p.cluster.process_count, wire::view::kMostProcesses);
    const auto* const end = p.process + count;
    const auto* const at =
        std::lower_bound(p.process, end, pid, [](const auto& a, std::int32_t b) { return a.pid < b; });
    there = at != end && at->pid == pid;
    if (there) found = *at;
  });
  return seen && there;
}

unsigned cpu_in_view(const Node& node, unsigned host_cpu, const CpuSet* affinity) {
  const unsigned cpus = std::max(node.cpus, 1U);
  unsigned allowed = 0;
  for (unsigned i = 0; affinity != nullptr && i < cpus; ++i)
    allowed += affinity->has(node.first_cpu + i) ? 1U : 0U;
  if (allowed == 0) return node.first_cpu + host_cpu % cpus;
  unsigned skip = host_cpu % allowed;
  for (unsigned i = 0; i < cpus; ++i)
    if (affinity->has(node.first_cpu + i) && skip-- == 0) return node.first_cpu + i;
  return node.first_cpu;
}

std::uint32_t own_place(const Task& t, const Cluster& c) {
  const std::uint32_t where = home_of(t).where();
  return where != 0 ? where : c.own_node;
}

std::unique_ptr<CpuSet> copy_affinity(const Task& t) {
  const mem::LockGuard guard(t.process->lock);
  return t.affinity != nullptr ? std::make_unique<CpuSet>(*t.affinity) : nullptr;
}

CpuSet effective_affinity(const CpuSet* affinity, const Cluster& c) {
  const CpuSet online = online_cpus(c);
  if (affinity == nullptr) return online;
  const CpuSet both = affinity->with(online);
  // As Linux frees a thread whose last CPU is taken away.
  return both.empty() ? online : both;
}

void adopt_host_affinity(Task& t, std::uint32_t start_node) {
  Cluster c;
  if (!read_cluster(c)) return;
  const Node* const n = find_node(c, start_node != 0 ? start_node : c.own_node);
  cpu_set_t host;
  CPU_ZERO(&host);
  if (n == nullptr || raw_call(SYS_sched_getaffinity, 0, sizeof host, word(&host)) < 0) return;
  const auto count = static_cast<unsigned>(CPU_COUNT(&host));
  if (count == 0 || count >= n->cpus) return;
  auto set = std::make_unique<CpuSet>();
  unsigned added = 0;
  for (unsigned i = 0; i < n->cpus && start_node == 0; ++i) {
    if (!CPU_ISSET(i, &host)) continue;
    set->add(n->first_cpu + i);
    ++added;
  }
  // Another node's, or CPUs that this one does not offer: as many.
  for (unsigned i = 0; added < count && i < n->cpus; ++i) {
    if (set->has(n->first_cpu + i)) continue;
    set->add(n->first_cpu + i);
    ++added;
  }
  t.affinity = std::move(set);
}

std::uint32_t place_for(const Task& t, std::uint32_t node) {
  Cluster c;
  if (t.affinity == nullptr || !read_cluster(c)) return node;
  const Node* const planned = find_node(c, node != 0 ? node : c.own_node);
  if (planned != nullptr && t.affinity->meets(planned->first_cpu, planned->cpus)) return node;
  for (std::uint32_t i = 0; i < c.node_count; ++i) {
    const Node& n = c.nodes[i];
    if (n.online != 0 && t.affinity->meets(n.first_cpu, n.cpus)) return n.id == c.own_node ? 0 : n.id;
  }
  return node;
}

void tell_affinity(Task& t) {
  if (t.affinity == nullptr) return;
  t.process->told_affinity = *t.affinity;
  home_of(t).tell_affinity(*t.affinity);
}

void set_viewed_process(Process* p) { g_process = p; }

void set_affinity_from_outside(const CpuSet& cpus) {
  if (g_process == nullptr) return;
  const mem::LockGuard guard(g_process->lock);
  for (Task* const t : g_process->tasks)
    t->affinity = cpus.empty() ? nullptr : std::make_unique<CpuSet>(cpus);
}

bool find_view_name(Task& t, int dir_fd, std::uint64_t guest_path, ViewName& name) {
  if (g_view_fd < 0) return false;
  const std::string path = absolute_candidate(dir_fd, guest_path);
  if (path.empty()) return false;
  view::Name found = view::parse_name(path);
  Cluster c;
  if (found.means == view::Means::Host || !read_cluster(c)) return false;
  // In another root without these file systems there are no such names either.
  if (found.reads_only && !exists(path.c_str())) return false;
  if (!exists(path.find("/sys") == 0 ? "/sys/devices/system/cpu" : "/proc/self")) return false;
  switch (found.means) {
    case view::Means::Uptime: name.text = uptime_text(c); break;
    case view::Means::Where: name.text = where_text(t, c, found.pid); break;
    default: break;
  }
  name.is_text = !name.text.empty();
  name.is_file = !found.path.empty() && (found.means != view::Means::Where || name.is_text);
  name.reads_only = found.reads_only;
  name.path = std::move(found.path);
  constexpr std::string_view kSelf = "../proc/pid/self";
  if (name.path.starts_with(kSelf))
    name.path = "../proc/pid/" + std::to_string(raw_call(SYS_getpid)) + name.path.substr(kSelf.size());
  return name.is_file || name.is_text;
}

bool strip_view_prefix(std::string& path) {
  if (g_view_fd < 0 || !path.starts_with("/")) return false;
  const std::string folder = link_of_fd(g_view_fd);
  const std::size_t slash = folder.rfind('/');
  if (slash == std::string::npos || slash == 0 || !path.starts_with(folder.substr(0, slash + 1)))
    return false;
  if (path.starts_with(folder + "/")) {
    path.erase(0, folder.size());
    return true;
  }
  // The mount of /proc/hpc beside it: proc/hpc, and proc/pid/N for /proc/N/hpc.
  const std::string rest = path.substr(slash);
  constexpr std::string_view kProcess = "/proc/pid/";
  if (rest.starts_with(kProcess) && rest.size() > kProcess.size()) {
    const std::string number =
        rest.substr(kProcess.size(), rest.find('/', kProcess.size()) - kProcess.size());
    path = "/proc/" + number + "/hpc" + rest.substr(kProcess.size() + number.size());
    return true;
  }
  if (!rest.starts_with("/proc/hpc")) return false;
  path = rest;
  return true;
}

std::string stat_in_view(const Task& t, std::string_view host, std::int64_t pid) {
  Cluster c;
  if (!read_cluster(c)) return std::string(host);
  wire::view::Process p{};
  const bool is_own = pid == raw_call(SYS_getpid);
  if (!find_process(static_cast<std::int32_t>(pid), p)) p.where = c.own_node;
  const Node* const n = find_node(c, is_own ? own_place(t, c) : p.where);
  const std::unique_ptr<CpuSet> affinity = is_own ? copy_affinity(t) : nullptr;
  constexpr std::uint64_t kTickUs = 10'000;
  // Of another tree of guests only hpcd knows, and not which kind it was.
  proc_text::MoreTicks more{p.remote_cpu_us / kTickUs, 0, 0, 0};
  CpuTime used = is_own ? process_used_away(t) : CpuTime{};
  CpuTime children = is_own ? children_used_away(t) : CpuTime{};
  if (is_own || others_used_away(static_cast<std::int32_t>(pid), used, children))
    more = {used.user / kTickUs, used.system / kTickUs, children.user / kTickUs, children.system / kTickUs};
  return proc_text::filter_stat(
      host, more, [&](unsigned cpu) { return n != nullptr ? cpu_in_view(*n, cpu, affinity.get()) : cpu; });
}

}  // namespace hpcvmm::deputy
