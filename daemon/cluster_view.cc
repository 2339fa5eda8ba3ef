#include "daemon/cluster_view.hh"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "daemon/facts.hh"
#include "daemon/log.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

using peer::ViewText;
namespace wire_view = wire::view;

namespace {

/// A node that offers half a CPU is one with one CPU.
std::uint32_t whole_cpus(const Config& c) {
  const double n = c.cpus > 0 ? std::ceil(c.cpus) : usable_cpus();
  return static_cast<std::uint32_t>(std::clamp(n, 1.0, 1024.0));
}

std::vector<Node> ids_of(const std::vector<Seed>& seeds) {
  std::vector<Node> out;
  for (const Seed& s : seeds) out.push_back(s.id);
  return out;
}

std::string read_whole(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string one_line(const std::string& path) {
  const std::string text = read_small(path);
  return text.substr(0, text.find('\n'));
}

unsigned one_number(const std::string& path) {
  return static_cast<unsigned>(std::strtoul(read_small(path).c_str(), nullptr, 10));
}

/// The caches of this host's first CPU.  A cache that several CPUs share is taken for the whole node's.
std::vector<view::Cache> host_caches() {
  std::vector<view::Cache> out;
  for (int i = 0; i < 8; ++i) {
    const std::string at = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    view::Cache c;
    c.level = one_number(at + "level");
    if (c.level == 0) break;
    c.type = one_line(at + "type");
    c.size = one_line(at + "size");
    c.ways = one_number(at + "ways_of_associativity");
    c.line = one_number(at + "coherency_line_size");
    c.sets = one_number(at + "number_of_sets");
    c.of_node = c.level >= 3;
    out.push_back(c);
  }
  return out;
}

/// What the kernel says of this host's CPUs' flaws: name and text.
std::vector<std::pair<std::string, std::string>> host_vulnerabilities() {
  std::vector<std::pair<std::string, std::string>> out;
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator("/sys/devices/system/cpu/vulnerabilities", none))
    out.emplace_back(entry.path().filename(), read_small(entry.path()));
  return out;
}

/// For how long what a node tells is wanted after it was asked for.
constexpr std::uint64_t kWantedMs = 10'000;

/// More frequent than monitors look, but not so that a large cluster talks of nothing else.
std::uint64_t period_ms(std::size_t nodes) { return nodes <= 8 ? 500 : nodes <= 32 ? 1000 : 3000; }

std::uint64_t kib(std::string_view meminfo, std::string_view key) {
  return view::meminfo_kib(meminfo, key) * 1024;
}

}  // namespace

void ClusterView::Unmap::operator()(wire_view::Shared* at) const { ::munmap(at, sizeof *at); }

ClusterView::ClusterView(const Config& config, ViewSources sources)
    : config_(config),
      sources_(std::move(sources)),
      ranges_(config.node, whole_cpus(config), ids_of(config.seeds)),
      caches_(host_caches()),
      vulnerabilities_(host_vulnerabilities()),
      cpus_(whole_cpus(config)) {}

ClusterView::~ClusterView() {
  // Deputies that go on without us see that there is no cluster any more.
  if (page_ != nullptr) wire_view::publish(*page_, {});
}

Status ClusterView::start() {
  const std::string folder = config_.run_dir + "/view";
  HPCVMM_CHECK_OK(files_.start(folder));
  const UniqueFd fd(::open((folder + "/page").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd || ::fchmod(fd.get(), 0644) != 0 || ::ftruncate(fd.get(), sizeof(wire_view::Shared)) != 0)
    return Error::last("open of the view's page");
  void* const at =
      ::mmap(nullptr, sizeof(wire_view::Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return Error::last("mmap of the view's page");
  page_.reset(static_cast<wire_view::Shared*>(at));
  return Unit{};
}

void ClusterView::on_up(Node node) { send_to(node, Part::All); }

void ClusterView::on_down(Node node) {
  ranges_.on_down(node);
  wanted_until_ms_.erase(node);
  std::erase_if(away_us_, [node](const auto& p) { return p.second.first == node; });
  next_ms_ = 0;
}

void ClusterView::on_message(Node from, const peer::ViewMessage& m, std::uint64_t now_ms) {
  const Member* const known = sources_.members.find(from);
  if (known == nullptr || known->state == peer::NodeState::Down) return;
  const auto shape = [this, from] {
    const CpuRange* const r = ranges_.find(from);
    return std::tuple(ranges_.own() != nullptr, r != nullptr && r->online, r != nullptr ? r->first : 0);
  };
  const auto before = shape();
  ranges_.on_memory(m.head.your_first, m.head.your_cpus);
  const bool chosen = m.head.first_cpu != CpuRanges::kNone;
  const bool fits = m.head.first_cpu < wire_view::kMostCpus && m.head.cpus <= wire_view::kMostCpus &&
                    m.head.first_cpu + m.head.cpus <= wire_view::kMostCpus;
  if (!chosen || fits) ranges_.on_claim(from, m.head.first_cpu, m.head.cpus, m.head.held_ms, now_ms);
  if (m.head.wants != 0) wanted_until_ms_[from] = now_ms + kWantedMs;
  const auto whole = [](std::string_view text) { return !text.empty(); };
  if (std::any_of(std::begin(m.texts), std::end(m.texts), whole)) {
    Facts& f = facts_[from];
    for (std::size_t i = 0; i < peer::kViewTexts; ++i) f.texts[i] = m.texts[i];
    std::erase_if(away_us_, [from](const auto& p) { return p.second.first == from; });
    for (const peer::GuestTime& g : m.guests) away_us_[g.pid] = {from, g.cpu_us};
  }
  if (shape() != before) {  // only then: an answer to every message would never end
    announce_ = true;
    next_ms_ = 0;
    tick(now_ms);
  }
}

void ClusterView::read_own() {
  Facts& f = facts_[config_.node];
  f.texts[ViewText::kCpuinfo] = view::first_cpu_block(read_whole("/proc/cpuinfo"));
  f.texts[ViewText::kStat] = view::short_stat(read_whole("/proc/stat"));
  f.texts[ViewText::kLoadavg] = read_whole("/proc/loadavg");
  std::string memory = read_whole("/proc/meminfo");
  if (const Member* const own = sources_.members.find(config_.node); config_.memory != 0 && own != nullptr)
    memory = view::limited_meminfo(memory, own->info.memory_total, own->info.memory_free);
  f.texts[ViewText::kMeminfo] = std::move(memory);
  for (std::string& text : f.texts)
    if (text.size() > peer::kMaxViewText) text.resize(text.rfind('\n', peer::kMaxViewText - 1) + 1);
}

void ClusterView::send_to(Node node, Part part) {
  if (part == Part::All && facts_[config_.node].texts[ViewText::kStat].empty()) read_own();
  const Facts none;
  const Facts& f = part == Part::All ? facts_[config_.node] : none;
  peer::View head;
  head.first_cpu = head.your_first = CpuRanges::kNone;
  head.cpus = cpus_;
  if (const CpuRange* const own = ranges_.own(); own != nullptr) {
    head.first_cpu = own->first;
    head.held_ms = now_ms_ - std::min(now_ms_, own->since_ms);
  }
  if (const CpuRange* const yours = ranges_.find(node); yours != nullptr) {
    head.your_first = yours->first;
    head.your_cpus = yours->cpus;
  }
  head.wants = has_viewers() ? 1 : 0;
  std::string texts;
  for (std::size_t i = 0; i < peer::kViewTexts; ++i) {
    head.text_bytes[i] = static_cast<std::uint32_t>(f.texts[i].size());
    texts += f.texts[i];
  }
  std::vector<peer::GuestTime> guests;
  for (const auto& [id, r] : sources_.remotes.all())
    if (part == Part::All && r.home == node && guests.size() < peer::kMaxViewGuests)
      guests.push_back({process_facts(r.pid).cpu_us, r.home_pid});
  head.guests = static_cast<std::uint32_t>(guests.size());
  const std::size_t guest_bytes = guests.size() * sizeof(peer::GuestTime);
  head.header.bytes = static_cast<std::uint32_t>(sizeof head + texts.size() + guest_bytes);
  std::vector<std::byte> message(head.header.bytes);
  std::memcpy(message.data(), &head, sizeof head);
  std::memcpy(message.data() + sizeof head, texts.data(), texts.size());
  if (guest_bytes != 0) std::memcpy(message.data() + sizeof head + texts.size(), guests.data(), guest_bytes);
  sources_.outbox.send_bytes(node, message);
}

bool ClusterView::has_viewers() const {
  const auto& all = sources_.sessions.all();
  return std::any_of(all.begin(), all.end(), [](const auto& s) {
    return s.second->registered && s.second->role == wire::local::Role::Deputy;
  });
}

/// Nothing in a cluster in which nobody looks, and what one who looks costs is his own.
void ClusterView::send_to_whom_it_concerns() {
  const bool to_all = std::exchange(announce_, false) || ranges_.own() == nullptr || has_viewers();
  for (const Node node : sources_.members.reachable()) {
    const auto until = wanted_until_ms_.find(node);
    if (until != wanted_until_ms_.end() && now_ms_ < until->second)
      send_to(node, Part::All);
    else if (to_all)
      send_to(node, Part::Numbers);
  }
}

void ClusterView::tick(std::uint64_t now_ms) {
  now_ms_ = now_ms;
  if (page_ == nullptr) return;
  if (ranges_.tick(now_ms)) {
    announce_ = true;
    next_ms_ = 0;
  }
  if (now_ms < next_ms_) return;
  next_ms_ = now_ms + period_ms(sources_.members.all().size());
  read_own();
  send_to_whom_it_concerns();
  if (ranges_.own() == nullptr) return;
  std::size_t own = 0;
  const std::vector<view::NodeFiles> nodes = gather(own);
  files_.put("proc/cpuinfo", view::cpuinfo(nodes));
  files_.put("proc/stat", view::stat(nodes, own));
  files_.put("proc/meminfo", view::meminfo(nodes, own));
  files_.put("proc/loadavg", view::loadavg(nodes, own));
  files_.put("cgroup/cpu.max", "max 100000\n");
  files_.put("cgroup/cpu.cfs_quota_us", "-1\n");
  files_.put("proc/where", std::to_string(config_.node) + "\n");  // exists; deputies know where they are
  publish(nodes);
  write_tree(nodes);
}

std::vector<view::NodeFiles> ClusterView::gather(std::size_t& own) const {
  std::vector<view::NodeFiles> out;
  for (const auto& [id, range] : ranges_.all()) {
    const auto facts = facts_.find(id);
    if (facts == facts_.end() || out.size() == wire_view::kMostNodes) continue;
    const auto& texts = facts->second.texts;
    if (id == config_.node) own = out.size();
    out.push_back({{id, range.online ? 1U : 0U, range.first, range.cpus},
                   texts[ViewText::kCpuinfo],
                   texts[ViewText::kStat],
                   texts[ViewText::kMeminfo],
                   texts[ViewText::kLoadavg]});
  }
  return out;
}

void ClusterView::write_tree(const std::vector<view::NodeFiles>& nodes) {
  // Distances from here are measured; between two others the longer of both is said.
  std::map<Node, unsigned> distance;
  std::string shown;
  for (const view::NodeFiles& n : nodes) {
    distance[n.node.id] = n.node.id == config_.node ? 10 : view::distance_of(sources_.rtt_us(n.node.id));
    for (const std::uint32_t v : {n.node.id, n.node.online, n.node.first_cpu, n.node.cpus})
      (shown += std::to_string(v)) += ' ';
  }
  for (const view::NodeFiles& n : nodes)
    if (n.node.online != 0)
      files_.put("sys/devices/system/node/node" + std::to_string(n.node.id) + "/meminfo",
                 view::node_meminfo(n.node.id, n.meminfo));
  std::vector<view::SystemNode> all;
  for (const view::NodeFiles& n : nodes) {
    view::SystemNode s{n.node, n.meminfo, {}};
    for (const view::NodeFiles& other : nodes) {
      if (other.node.online == 0) continue;
      const unsigned far = std::max(distance[n.node.id], distance[other.node.id]);
      s.distances.push_back(n.node.id == other.node.id ? 10 : far);
    }
    if (n.node.online != 0) put_distances(s);
    all.push_back(std::move(s));
  }
  if (shown == tree_of_) return;
  tree_of_ = shown;
  for (const auto& [name, text] : vulnerabilities_)
    files_.put("sys/devices/system/cpu/vulnerabilities/" + name, text);
  for (const view::TreeEntry& e : view::system_tree(all, caches_, config_.node)) {
    const std::string path = "sys/devices/system/" + e.path;
    if (e.link)
      files_.put_link(path, e.text);
    else
      files_.put(path, e.text);
  }
  files_.sweep("sys");
  log::info("the view of the cluster has changed", {{"nodes", all.size()}});
}

void ClusterView::put_distances(const view::SystemNode& n) {
  files_.put("sys/devices/system/node/node" + std::to_string(n.node.id) + "/distance",
             view::distance_line(n.distances));
}

void ClusterView::publish(const std::vector<view::NodeFiles>& nodes) {
  wire_view::Page page{};
  wire_view::Cluster& c = page.cluster;
  c.magic = wire_view::kMagic;
  c.version = wire_view::kVersion;
  c.own_node = config_.node;
  c.renewed_ms = now_ms_;
  for (const view::NodeFiles& n : nodes) {
    c.nodes[c.node_count++] = n.node;
    c.cpu_ids = std::max(c.cpu_ids, n.node.first_cpu + n.node.cpus);
    if (n.node.online == 0) continue;
    c.memory_total += kib(n.meminfo, "MemTotal");
    c.memory_free += kib(n.meminfo, "MemFree");
    c.memory_shared += kib(n.meminfo, "Shmem");
    c.memory_buffers += kib(n.meminfo, "Buffers");
    c.swap_total += kib(n.meminfo, "SwapTotal");
    c.swap_free += kib(n.meminfo, "SwapFree");
    const view::Loads loads = view::parse_loadavg(n.loadavg);
    for (std::size_t i = 0; i < 3; ++i) c.loads[i] += loads.averages[i];
    c.processes += static_cast<std::uint32_t>(loads.processes);
    c.idle_cs += view::idle_cs(n.stat, n.node.cpus);
  }
  fill_processes(page);
  wire_view::publish(*page_, page);
}

void ClusterView::fill_processes(wire_view::Page& page) const {
  for (const auto& [id, s] : sources_.sessions.all()) {
    if (!s->registered || s->role != wire::local::Role::Deputy) continue;
    const bool away = s->state.where != 0 && s->state.where != config_.node;
    if ((!away && s->state.remote_cpu_us == 0) || page.cluster.process_count == wire_view::kMostProcesses)
      continue;
    wire_view::Process p{s->pid, away ? s->state.where : config_.node, s->state.remote_cpu_us};
    const auto there = away_us_.find(s->pid);
    if (away && there != away_us_.end() && there->second.first == s->state.where)
      p.remote_cpu_us += there->second.second;
    page.process[page.cluster.process_count++] = p;
  }
  std::sort(page.process, page.process + page.cluster.process_count,
            [](const auto& a, const auto& b) { return a.pid < b.pid; });
}

bool ClusterView::allows(const wire_view::CpuSet& affinity, Node node) const {
  if (affinity.empty()) return true;
  const CpuRange* const r = ranges_.find(node);
  return r != nullptr && affinity.meets(r->first, r->cpus);
}

std::vector<Node> ClusterView::nodes_of(const wire_view::CpuSet& cpus) const {
  std::vector<std::pair<double, Node>> found;
  for (const auto& [id, r] : ranges_.all()) {
    if (!r.online || !cpus.meets(r.first, r.cpus)) continue;
    if (id != config_.node && !sources_.members.cannot_take(id).empty()) continue;
    const double load = static_cast<double>(sources_.members.find(id)->info.load_milli) / r.cpus;
    found.emplace_back(id == config_.node ? -1 : load, id);
  }
  std::sort(found.begin(), found.end());
  std::vector<Node> out;
  for (const auto& [load, id] : found) out.push_back(id);
  return out;
}

wire_view::CpuSet ClusterView::online() const {
  wire_view::CpuSet set;
  for (const auto& [id, r] : ranges_.all())
    if (r.online) set.add(r.first, r.cpus);
  return set;
}

}  // namespace hpcvmm::daemon
