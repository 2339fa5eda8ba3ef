#include "daemon/remotes.hh"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;

namespace {
/// To end by itself after the channel was closed in order.
constexpr std::uint64_t kEndMs = 2000;
/// Without spares, after one has ended by itself.
constexpr std::uint64_t kPauseMs = 10'000;
/// glibc 2.36 of Debian 12 has P_PIDFD in an enum only with newer headers.
constexpr idtype_t kPidfd = static_cast<idtype_t>(3);

std::string how_it_ended(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "the remote ended with status " + std::to_string(info.si_status);
  return "the remote was ended by signal " + std::to_string(info.si_status);
}
}  // namespace

Remotes::~Remotes() {
  for (const auto& [pid, child] : children_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    poller_.remove(child.watch);
  }
}

Remote* Remotes::find(SessionId id) {
  const auto found = remotes_.find(id);
  return found == remotes_.end() ? nullptr : &found->second;
}

std::uint64_t Remotes::reserved() const {
  std::uint64_t sum = 0;
  for (const auto& [id, r] : remotes_) sum += r.memory;
  return sum;
}

void Remotes::refuse(Node to, CircuitId circuit, int code, const std::string& why) {
  ++refused_;
  peer::OpenReply m;
  m.to_circuit = circuit;
  m.code = code;
  set_text(m.why, why);
  outbox_.send(to, m);
}

void Remotes::on_request(Node from, const peer::OpenRequest& m, const Room& room, std::uint64_t now_ms) {
  static_cast<void>(now_ms);
  if (room.draining) return refuse(from, m.circuit, EBUSY, "the node is being drained and takes nobody");
  const std::uint64_t promised = reserved();
  if (m.memory > room.memory_free || promised > room.memory_limit || m.memory > room.memory_limit - promised)
    return refuse(
        from, m.circuit, ENOMEM,
        "memory is short there: " + std::to_string(m.memory >> 20) + " MiB asked for, " +
            std::to_string(
                std::min(room.memory_free, room.memory_limit - std::min(promised, room.memory_limit)) >> 20) +
            " MiB free");
  used_ms_[static_cast<std::size_t>(m.engine)] = now_ms;
  Result<Spare> spare = take_or_start(m.engine);
  if (!spare)
    return refuse(
        from, m.circuit, spare.error().code,
        std::string("cannot start a remote: ") + spare.error().op + ": " + std::strerror(spare.error().code));
  Remote r;
  r.session = spare->session;
  r.pid = spare->pid;
  r.home = from;
  r.home_circuit = m.circuit;
  r.home_pid = m.pid;
  r.uid = m.uid;
  r.memory = m.memory;
  r.comm = get_text(m.comm);
  ++started_;
  log::info("remote started",
            {{"pid", r.pid}, {"home", from}, {"home_pid", m.pid}, {"command", get_text(m.comm)}});
  Remote& kept = remotes_.emplace(spare->session, std::move(r)).first->second;
  // One that was kept ready has its rings already.
  if (const Session* const s = sessions_.find(spare->session); s != nullptr && s->port != 0)
    connect(kept, *s);
}

Result<Remotes::Spare> Remotes::start(EngineKind engine) {
  HPCVMM_TRY(SpawnedRemote spawned, spawn_remote(kit_, engine));
  const pid_t pid = spawned.pid;
  UniqueFd own(::fcntl(spawned.process.get(), F_DUPFD_CLOEXEC, 16));
  Child child{std::move(own), 0};
  const auto watch = poller_.add(child.process.get(), EPOLLIN, [this, pid](std::uint32_t) { reap(pid); });
  if (watch) child.watch = *watch;
  children_.emplace(pid, std::move(child));
  const Result<SessionId> session =
      sessions_.add_spawned(std::move(spawned.socket), std::move(spawned.process), pid);
  if (session) return Spare{*session, pid, engine};
  ::kill(pid, SIGKILL);
  return session.error();
}

Result<Remotes::Spare> Remotes::take_or_start(EngineKind engine) {
  for (auto it = spares_.begin(); it != spares_.end(); ++it) {
    if (it->engine != engine) continue;
    const Spare taken = *it;
    spares_.erase(it);
    return taken;
  }
  return start(engine);
}

/// Spares in number: two of an engine that was asked for lately, one of kvm, none of what nobody uses.
void Remotes::keep_spares(std::uint64_t now_ms, bool wanted) {
  constexpr std::uint64_t kLatelyMs = 60'000;
  for (const EngineKind engine : {EngineKind::Kvm, EngineKind::Direct}) {
    const std::uint64_t used = used_ms_[static_cast<std::size_t>(engine)];
    std::size_t most = engine == EngineKind::Kvm && kit_.kvm ? 1 : 0;
    if (used != 0 && now_ms - used < kLatelyMs) most = 2;
    most = wanted ? std::min<std::size_t>(most, kit_.spares) : 0;
    std::size_t have = 0;
    for (const Spare& s : spares_) {
      if (s.engine != engine || ++have <= most) continue;
      if (const auto child = children_.find(s.pid); child != children_.end())
        ::syscall(SYS_pidfd_send_signal, child->second.process.get(), SIGKILL, nullptr, 0);
    }
    if (have >= most || now_ms < no_spares_until_ms_) continue;
    // One a tick: starting them is for when there is nothing else to do.
    if (Result<Spare> s = start(engine)) return spares_.push_back(*s);
    no_spares_until_ms_ = now_ms + kLatelyMs;
  }
}

/// False: there are none, and the remote will be ended.
bool Remotes::give_rings(Session& s) {
  const Result<PortId> port = relay_.add_port();
  if (!port) {
    log::warning("no rings for a remote", {{"pid", s.pid}, {"why", port.error().op}});
    return false;
  }
  s.port = *port;
  local::Attach attach;
  attach.ring_bytes = Rings::kBytes;
  sessions_.send(s, std::as_bytes(std::span(&attach, 1)), relay_.rings(*port).descriptors());
  return true;
}

void Remotes::on_register(Session& s) {
  for (const Spare& spare : spares_)
    if (spare.session == s.id && s.port == 0) return static_cast<void>(give_rings(s));
  Remote* const r = find(s.id);
  // It may have been given up while it started: its Register was under way then.
  if (r == nullptr || r->circuit != 0 || r->home_circuit == 0 || s.port != 0) return;
  if (give_rings(s)) return connect(*r, s);
  refuse(r->home, r->home_circuit, ENOMEM, "no rings for the remote");
  r->home_circuit = 0;
  kill(*r);
}

void Remotes::connect(Remote& r, const Session& s) {
  r.circuit = relay_.add(s.port, 1, r.home);
  relay_.set_peer_circuit(r.circuit, r.home_circuit, Circuit::State::Waiting);
  peer::OpenReply m;
  m.to_circuit = r.home_circuit;
  m.circuit = r.circuit;
  outbox_.send(r.home, m);
}

void Remotes::on_gone(const Session& s, const std::string& why) {
  if (std::erase_if(spares_, [&](const Spare& spare) { return spare.session == s.id; }) != 0) {
    // What ends before anybody has come would do so again.
    if (reap(s.pid).empty()) ::syscall(SYS_pidfd_send_signal, s.process.get(), SIGKILL, nullptr, 0);
    no_spares_until_ms_ = now_ms_ + kPauseMs;
    return;
  }
  const Remote* const r = find(s.id);
  if (r == nullptr) return;
  std::string reason = r->ended.empty() ? reap(r->pid) : r->ended;
  if (reason.empty()) {
    reason = "the remote was ended: " + why;
    kill(*r);
  }
  log::info("remote ended", {{"pid", r->pid}, {"home", r->home}, {"home_pid", r->home_pid}, {"why", reason}});
  if (r->circuit != 0)
    relay_.close(r->circuit, reason);  // what it has written is still sent
  else if (r->home_circuit != 0 && s.port == 0)
    refuse(r->home, r->home_circuit, ECHILD, reason);
  remotes_.erase(s.id);
}

void Remotes::on_circuit_closed(const Circuit& c, const std::string& why, bool lost, std::uint64_t now_ms) {
  for (auto& [id, r] : remotes_) {
    if (r.circuit != c.id) continue;
    r.circuit = 0;
    r.home_circuit = 0;
    if (lost) return kill(r);
    r.kill_ms = now_ms + kEndMs;
    if (Session* const s = sessions_.find(id); s != nullptr) {
      local::Closed m;
      m.channel = 1;
      set_text(m.why, why);
      sessions_.send(*s, m);
    }
    return;
  }
}

void Remotes::on_abort(Node from, CircuitId home_circuit) {
  for (auto& [id, r] : remotes_) {
    if (r.circuit != 0 || r.home != from || r.home_circuit != home_circuit) continue;
    r.home_circuit = 0;
    return kill(r);
  }
}

void Remotes::on_peer_down(Node node) {
  for (auto& [id, r] : remotes_) {
    if (r.home != node) continue;
    r.home_circuit = 0;
    kill(r);
  }
}

void Remotes::on_pause(Node from, CircuitId circuit, bool stopped) {
  for (const auto& [id, r] : remotes_)
    if (r.home == from && r.circuit == circuit) return signal(r, stopped ? SIGSTOP : SIGCONT);
}

void Remotes::signal(const Remote& r, int signo) {
  // By pidfd: the number cannot be another process's meanwhile.
  if (const auto child = children_.find(r.pid); child != children_.end())
    ::syscall(SYS_pidfd_send_signal, child->second.process.get(), signo, nullptr, 0);
}

std::string Remotes::reap(pid_t pid) {
  const auto child = children_.find(pid);
  if (child == children_.end()) return "the remote has ended";
  siginfo_t info{};
  const int rc = ::waitid(kPidfd, static_cast<id_t>(child->second.process.get()), &info, WEXITED | WNOHANG);
  if (rc != 0 || info.si_pid == 0) return {};
  poller_.remove(child->second.watch);
  children_.erase(child);
  std::string how = how_it_ended(info);
  for (auto& [id, r] : remotes_)
    if (r.pid == pid) r.ended = how;
  return how;
}

void Remotes::tick(std::uint64_t now_ms, bool spares) {
  now_ms_ = now_ms;
  keep_spares(now_ms, spares);
  for (const auto& [id, r] : remotes_)
    if (r.kill_ms != 0 && r.kill_ms < now_ms) kill(r);
}

}  // namespace hpcvmm::daemon
