#include "daemon/hpcd.hh"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/log.hh"
#include "daemon/system.hh"

namespace hpcvmm::daemon {

namespace {
constexpr std::uint64_t kTickMs = 100;
constexpr std::uint64_t kGossipMs = 1000;
/// Passes with work after which sockets are looked at although the network is busy.
constexpr unsigned kPassesPerPoll = 16;
constexpr std::uint64_t kPollerTag = 1;

std::string say(const char* what, const Error& e, const std::string& remedy = {}) {
  return std::string(what) + ": " + e.op + ": " + std::strerror(e.code) +
         (remedy.empty() ? "" : "; " + remedy);
}

}  // namespace

std::variant<std::unique_ptr<Hpcd>, Refusal> Hpcd::create(const Config& config, const Identity& identity,
                                                          bool found_number, const ClusterKey& key) {
  auto kit = make_remote_kit(config);
  if (auto* const refusal = std::get_if<Refusal>(&kit)) return *refusal;
  Result<Poller> poller = Poller::create();
  if (!poller) return Refusal{say("cannot start", poller.error())};
  std::unique_ptr<Hpcd> node(
      new Hpcd(config, identity, *std::move(poller), std::get<RemoteKit>(std::move(kit))));
  node->found_number_ = found_number;
  if (auto refusal = node->start(key)) return *refusal;
  return node;
}

Hpcd::Hpcd(const Config& config, const Identity& identity, Poller poller, RemoteKit kit)
    : config_(config),
      identity_(identity),
      poller_(std::move(poller)),
      members_(config.node, config.address, config.seeds),
      sessions_(poller_, *this),
      relay_(poller_, outbox_, *this),
      remotes_(poller_, sessions_, relay_, outbox_, std::move(kit)),
      names_([this](const names::Source::Reader& reader, const names::Bytes& batch) {
        return tell_names(reader, batch);
      }),
      rpc_(outbox_, [this](Node from, const std::string& text,
                           const Rpc::Reply& reply) { on_question(from, text, reply); }),
      moves_(sessions_, members_),
      balance_(config_, {sessions_, members_, remotes_, outbox_, rpc_, moves_}),
      view_(config_, {members_, sessions_, remotes_, outbox_,
                      [this](Node node) {
                        const auto stats = transport_->peer_stats(node);
                        return stats && stats->up ? static_cast<std::uint32_t>(stats->min_rtt / 1000) : 0;
                      }}),
      api_(poller_, {.connections = 256}, [this](StreamServer::Id id, std::string& in) { on_api(id, in); }),
      http_(poller_, {.connections = 32, .input = 8192, .output = 8U << 20, .idle_ms = 5000},
            [this](StreamServer::Id id, std::string& in) { on_http(id, in); }) {}

Hpcd::~Hpcd() {
  poller_.remove(signals_watch_);
  poller_.remove(files_watch_);
  poller_.remove(names_changes_watch_);
  poller_.remove(names_news_watch_);
  for (const char* name : {"/vmm.sock", "/api.sock"}) ::unlink((config_.run_dir + name).c_str());
  if (!config_.metrics.empty() && config_.metrics[0] == '/') ::unlink(config_.metrics.c_str());
}

std::optional<Refusal> Hpcd::start(const ClusterKey& key) {
  now_ms_ = clock_.now() / net::kMillisecond;
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, s);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Refusal{say("cannot start", Error::last("signalfd"))};
  const auto watch = poller_.add(signals_.get(), EPOLLIN, [this](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      if (info.ssi_signo != SIGHUP) begin_shutdown("signal");
  });
  if (!watch) return Refusal{say("cannot start", watch.error())};
  signals_watch_ = *watch;
  if (const Status s = files_.open(); !s) return Refusal{say("cannot start", s.error())};
  const auto files = poller_.add(files_.fd(), EPOLLIN, [this](std::uint32_t) { files_.collect(); });
  if (!files) return Refusal{say("cannot start", files.error())};
  files_watch_ = *files;
  if (const Status s = start_names(); !s) return Refusal{say("cannot start", s.error())};
  // Before anybody can ask: the first process may come with the first message.
  balance_.start(now_ms_);
  if (auto refusal = start_network(key)) return refusal;
  return listen();
}

std::optional<Refusal> Hpcd::start_network(const ClusterKey& key) {
  auto link = Link::open(config_, clock_);
  if (auto* const refusal = std::get_if<Refusal>(&link)) return *refusal;
  link_ = std::get<Link>(std::move(link));
  net::Config c;
  c.node = config_.node;
  c.key = key;
  c.incarnation = identity_.life;
  auto transport = net::Transport::create(c, link_.driver(), clock_, *this);
  ::explicit_bzero(c.key.data(), c.key.size());
  if (!transport) return Refusal{say("the transport does not start", transport.error())};
  transport_ = *std::move(transport);
  outbox_.set_transport(*transport_);
  relay_.set_transport(*transport_);
  auto waiter = net::Waiter::create(link_.driver(), clock_);
  if (!waiter) return Refusal{say("cannot start", waiter.error())};
  waiter_.emplace(*std::move(waiter));
  if (const Status s = waiter_->add(poller_.fd(), kPollerTag); !s)
    return Refusal{say("cannot start", s.error())};
  for (const Seed& seed : config_.seeds) {
    const auto address = net::Address::parse(seed.address);
    if (!address || address->port == 0)
      return Refusal{"the address of seed " + std::to_string(seed.id) + ", \"" + seed.address +
                     "\", is not like 10.0.0.2:7200"};
  }
  start_presence(key);
  return std::nullopt;
}

std::optional<Refusal> Hpcd::listen() {
  const std::string& dir = config_.run_dir;
  if (!make_folders(dir)) return Refusal{"run_dir " + dir + ": " + std::strerror(errno)};
  if (const Status s = sessions_.listen(dir + "/vmm.sock"); !s)
    return Refusal{say((dir + "/vmm.sock").c_str(), s.error())};
  if (const Status s = api_.listen_at(dir + "/api.sock", 0666); !s)
    return Refusal{say((dir + "/api.sock").c_str(), s.error())};
  if (const Status s = view_.start(); !s) return Refusal{say((dir + "/view").c_str(), s.error())};
  if (config_.metrics.empty()) return std::nullopt;
  const Status s =
      config_.metrics[0] == '/' ? http_.listen_at(config_.metrics, 0666) : http_.listen_tcp(config_.metrics);
  if (!s) return Refusal{say(("metrics = \"" + config_.metrics + "\"").c_str(), s.error())};
  return std::nullopt;
}

int Hpcd::run() {
  gossip();  // what the first word to others says of us
  tick();
  log::info("ready",
            {{"address", config_.address}, {"driver", link_.driver().name()}, {"run_dir", config_.run_dir}});
  notify_service_manager("READY=1");
  while (!shutdown_done()) {
    now_ms_ = clock_.now() / net::kMillisecond;
    if (now_ms_ >= next_tick_ms_) tick();
    const bool worked = pass();
    if (worked) waiter_->busy();
    if (worked && ++passes_ < kPassesPerPoll) continue;
    passes_ = 0;
    if (poller_.run(0) > 0) {
      sessions_.reap();
      waiter_->busy();
      continue;
    }
    if (!worked && waiter_->idle()) sleep(transport_->poll());
  }
  log::info("ended");
  return exit_status_;
}

bool Hpcd::pass() {
  bool worked = relay_.pump();
  transport_->poll();
  worked |= transport_->worked();
  relay_.wake_processes();
  sessions_.reap();
  return worked;
}

void Hpcd::sleep(net::Nanos deadline) {
  relay_.wake_processes();
  sessions_.reap();
  if (transport_->worked() || !relay_.prepare_sleep()) return waiter_->busy();
  std::uint64_t until_ms = next_tick_ms_;
  if (relay_.has_overflow()) until_ms = now_ms_ + 1;
  waiter_->block(std::min(deadline, until_ms * net::kMillisecond));
}

/// Others take a node that says nothing for a second for lost: what holds us up is worth a line.
void Hpcd::note_delay() {
  constexpr std::uint64_t kWorthALineMs = 300;
  const ThreadTimes times = thread_times();
  const std::uint64_t late_ms = now_ms_ - std::min(now_ms_, next_tick_ms_);
  if (next_tick_ms_ != 0 && late_ms > kWorthALineMs)
    log::warning("was held up", {{"ms", late_ms},
                                 {"used_cpu_ms", (times.used_us - times_.used_us) / 1000},
                                 {"waited_for_cpu_ms", (times.waited_us - times_.waited_us) / 1000}});
  times_ = times;
}

void Hpcd::tick() {
  note_delay();
  next_tick_ms_ = now_ms_ + kTickMs;
  sessions_.tick(now_ms_);
  remotes_.tick(now_ms_, !balance_.draining() && !stopping_);
  pass_stops_on();
  rpc_.tick(now_ms_);
  outbox_.tick(now_ms_);
  names_.tick(now_ms_, !relay_.circuits().empty());
  presence_->tick(now_ms_);
  api_.tick(now_ms_);
  http_.tick(now_ms_);
  if (moves_.pending() != 0)
    moves_.tick(now_ms_, [this](SessionId id) {
      const Session* const s = sessions_.find(id);
      return s != nullptr ? relay_.bytes_of(s->port) : 0;
    });
  if (now_ms_ >= next_gossip_ms_) gossip();
  balance_.tick(now_ms_, network_bytes());
  // What a poll takes is then a program's, and who waits for an answer waits for a CPU first.
  waiter_->allow_spin(!balance_.crowded());
  view_.tick(now_ms_);
  if (stopping_ && now_ms_ >= next_evacuation_ms_) evacuate();
}

std::uint64_t Hpcd::network_bytes() const {
  const net::DriverCounters c = const_cast<Hpcd*>(this)->link_.driver().counters();
  return c.tx_bytes + c.rx_bytes;
}

void Hpcd::gossip() {
  next_gossip_ms_ = now_ms_ + kGossipMs;
  host_ = host_facts();
  peer::Gossip g;
  g.epoch = members_.epoch();
  g.cpus_milli = static_cast<std::uint32_t>((config_.cpus > 0 ? config_.cpus : usable_cpus()) * 1000);
  g.load_milli = host_.load_milli;
  g.memory_total = config_.memory != 0 ? std::min(config_.memory, host_.memory_total) : host_.memory_total;
  const std::uint64_t reserved = remotes_.reserved();
  g.memory_free = std::min(host_.memory_available, g.memory_total - std::min(g.memory_total, reserved));
  g.memory_free = std::min(g.memory_free, balance_.memory_free());
  for (const auto& [id, s] : sessions_.all())
    if (s->registered && s->role == wire::local::Role::Deputy) ++g.processes;
  g.guests = static_cast<std::uint32_t>(remotes_.all().size());
  g.state = balance_.draining() || stopping_ ? peer::NodeState::Draining : peer::NodeState::Up;
  g.policy = static_cast<std::uint8_t>(balance_.policy());
  const bool changed = g.state != own_.state || g.processes != own_.processes || g.guests != own_.guests;
  own_ = g;
  members_.set_self(g, now_ms_);
  tell_load(g, changed);
  close_unused();
}

Room Hpcd::room() const {
  return {host_.memory_available, own_.memory_total, balance_.draining() || stopping_};
}

void Hpcd::begin_shutdown(const char* why) {
  if (stopping_) return;
  log::info("ending", {{"why", why}, {"seconds", config_.shutdown_seconds}});
  notify_service_manager("STOPPING=1");
  stopping_ = true;
  balance_.stop();
  end_ms_ = now_ms_ + config_.shutdown_seconds * 1000ULL;
  next_evacuation_ms_ = 0;
  gossip();
  evacuate();
}

void Hpcd::evacuate() {
  next_evacuation_ms_ = now_ms_ + 1000;
  // Ours come home...
  std::vector<SessionId> away;
  for (const auto& [id, s] : sessions_.all())
    if (stopping_ && s->role == wire::local::Role::Deputy && s->state.where != 0 &&
        s->state.where != config_.node)
      away.push_back(id);
  for (const SessionId id : away) {
    Session* const s = sessions_.find(id);
    if (s == nullptr) continue;
    Request home;
    home.op = Request::Op::Migrate;
    home.pid = s->pid;
    moves_.start(*s, home, 0, now_ms_, [](const nlohmann::json&, bool) {});
  }
  // ...and the others' are taken back by their homes.
  for (const auto& [id, r] : remotes_.all()) {
    Request evict;
    evict.op = Request::Op::Evict;
    evict.pid = r.home_pid;
    evict.local = true;
    rpc_.ask(r.home, request_text(evict), 10'000, [](Rpc::Kind, const std::string&) {});
  }
}

bool Hpcd::shutdown_done() {
  if (!stopping_) return false;
  bool away = moves_.pending() != 0 || !remotes_.all().empty();
  for (const auto& [id, s] : sessions_.all())
    away = away || (s->state.where != 0 && s->state.where != config_.node);
  if (away && now_ms_ < end_ms_) return false;
  if (away) log::warning("processes are left behind", {{"guests", remotes_.all().size()}});
  for (const auto& [node, life] : lives_) outbox_.send(node, peer::Bye{});
  presence_->change([](net::discovery::Membership& m, std::uint64_t now_ms) { m.leave(now_ms); });
  transport_->flush();
  return true;
}

}  // namespace hpcvmm::daemon
