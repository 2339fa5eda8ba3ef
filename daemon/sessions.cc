#include "daemon/sessions.hh"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "daemon/unix_socket.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;

namespace {
constexpr std::size_t kMaxSessions = 32768;
constexpr std::size_t kMaxUnsent = 256;
constexpr std::uint64_t kRegisterMs = 10'000;

UniqueFd open_process(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

void pass_credentials(int fd) {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

/// Whether that process is of that user, as /proc says.
bool is_of_user(pid_t pid, uid_t uid) {
  struct stat s {};
  return ::stat(("/proc/" + std::to_string(pid)).c_str(), &s) == 0 && s.st_uid == uid;
}
}  // namespace

/// A received datagram with what came beside it.
struct Sessions::Incoming {
  std::array<std::byte, local::kMaxMessage> bytes;
  std::size_t size = 0;
  ucred sender{};  ///< pid 0: the kernel did not say
  std::array<UniqueFd, 4> descriptors;
  std::size_t descriptor_count = 0;
};

Sessions::~Sessions() {
  stop_listening();
  for (const auto& [id, s] : sessions_) {
    poller_.remove(s->watch);
    poller_.remove(s->process_watch);
  }
}

Status Sessions::listen(const std::string& path) {
  HPCVMM_TRY(listener_, listen_unix(path, SOCK_SEQPACKET, 0666));
  // Credentials come with the very first message of a connection only if they were asked for before it was
  // made.
  pass_credentials(listener_.get());
  HPCVMM_TRY(listener_watch_,
             poller_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_some(); }));
  return Unit{};
}

void Sessions::stop_listening() {
  poller_.remove(listener_watch_);
  listener_watch_ = 0;
  listener_ = UniqueFd();
}

void Sessions::accept_some() {
  for (int i = 0; i < 64; ++i) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (sessions_.size() >= kMaxSessions ||
        ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
      continue;  // closed: the VMM process reports that there is no hpcd
    add(std::move(fd), peer.uid, 0);
  }
}

Session* Sessions::add(UniqueFd socket, uid_t uid, pid_t pid) {
  pass_credentials(socket.get());
  auto s = std::make_unique<Session>();
  s->id = next_++;
  s->uid = uid;
  s->pid = pid;
  s->socket = std::move(socket);
  s->deadline_ms = now_ms_ + kRegisterMs;
  const SessionId id = s->id;
  const auto watch = poller_.add(s->socket.get(), EPOLLIN, [this, id](std::uint32_t e) { readable(id, e); });
  if (!watch) return nullptr;
  s->watch = *watch;
  return sessions_.emplace(id, std::move(s)).first->second.get();
}

Result<SessionId> Sessions::add_spawned(UniqueFd socket, UniqueFd process, pid_t pid) {
  Session* const s = add(std::move(socket), 0, pid);
  if (s == nullptr) return Error::of(ENOMEM, "watch a remote");
  s->spawned = true;
  s->role = local::Role::Remote;
  s->process = std::move(process);
  const SessionId id = s->id;
  const auto watch = poller_.add(s->process.get(), EPOLLIN, [this, id](std::uint32_t) { process_ended(id); });
  if (watch) s->process_watch = *watch;
  return id;
}

Session* Sessions::find(SessionId id) {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

Session* Sessions::find_deputy(pid_t pid) {
  const auto found = deputies_.find(pid);
  return found == deputies_.end() ? nullptr : find(found->second);
}

bool Sessions::receive(Session& s, Incoming& in) {
  iovec vector{in.bytes.data(), in.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 4) + CMSG_SPACE(sizeof(ucred))> control{};
  msghdr m{};
  m.msg_iov = &vector;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(s.socket.get(), &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) end(s.id, std::string("its connection: ") + std::strerror(errno));
    return false;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_CREDENTIALS) std::memcpy(&in.sender, CMSG_DATA(c), sizeof in.sender);
    if (c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      UniqueFd owned(fd);
      if (in.descriptor_count < in.descriptors.size())
        in.descriptors[in.descriptor_count++] = std::move(owned);
    }
  }
  if (n == 0) {
    hang_up(s);
    return false;
  }
  if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    end(s.id, "a message was too long");
    return false;
  }
  in.size = static_cast<std::size_t>(n);
  return true;
}

void Sessions::readable(SessionId id, std::uint32_t events) {
  Session* s = find(id);
  if (s == nullptr) return;
  if ((events & EPOLLOUT) != 0 && !flush(*s)) return;
  // A few, so that one process cannot keep the others waiting.
  for (int i = 0; i < 16; ++i) {
    s = find(id);
    if (s == nullptr) return;
    Incoming in;
    if (!receive(*s, in)) return;
    handle(id, in);
  }
}

void Sessions::handle(SessionId id, Incoming& in) {
  Session& s = *find(id);
  const LocalMessage message = parse_local(std::span(in.bytes).first(in.size));
  if (const auto* bad = std::get_if<BadMessage>(&message)) return end(id, std::string("it sent ") + bad->why);
  if (const auto* m = std::get_if<local::Register>(&message)) return handle_register(s, *m, in);
  if (const auto* hold = std::get_if<local::NamesHold>(&message)) {
    if (s.registered || s.spawned) return end(id, "NamesHold came on a process's own connection");
    return events_.on_names_hold(s, *hold);
  }
  if (!s.registered) return end(id, "its first message was not Register");
  if (std::holds_alternative<Adopt>(message)) return handle_adopt(s, in);
  if (const auto* state = std::get_if<local::State>(&message)) {
    s.state = *state;
    events_.on_state(s);
  } else if (const auto* shared = std::get_if<local::Mappings>(&message)) {
    // A gap is not filled: what is told out of order is left out.
    if (shared->first <= s.mappings.size()) {
      s.mappings.resize(shared->first);
      s.mappings.insert(s.mappings.end(), shared->list, shared->list + shared->count);
      s.mappings_total = shared->total;
    }
  } else if (const auto* held = std::get_if<local::Held>(&message)) {
    s.held = *held;
  } else if (const auto* affinity = std::get_if<local::Affinity>(&message)) {
    s.affinity = affinity->cpus;
    events_.on_affinity(s);
  } else if (const auto* open = std::get_if<local::Open>(&message)) {
    events_.on_open(s, *open);
  } else if (const auto* close = std::get_if<local::Close>(&message)) {
    events_.on_close(s, *close);
  } else if (const auto* done = std::get_if<local::MoveDone>(&message)) {
    events_.on_move_done(s, *done);
  } else if (const auto* seen = std::get_if<local::FileSeen>(&message)) {
    events_.on_file_seen(*seen);
  } else if (const auto* ask = std::get_if<local::FileAsk>(&message)) {
    events_.on_file_ask(s, *ask);
  } else if (const auto* name = std::get_if<local::NamesAsk>(&message)) {
    events_.on_names_ask(s, *name);
  }
}

void Sessions::handle_register(Session& s, const local::Register& m, const Incoming& in) {
  if ((m.role == local::Role::Remote) != s.spawned)
    return end(s.id, s.spawned ? "a remote registered as a deputy" : "only hpcd starts remotes");
  const SessionId id = s.id;
  pid_t pid = in.sender.pid;
  // A child whose socket was adopted may have spoken before credentials were asked for.  Then its word
  // counts, but only for a process of the user that vouched for it.
  if (pid == 0 && is_of_user(m.pid, s.uid)) pid = m.pid;
  if (pid <= 0 || (s.spawned && pid != s.pid) || (s.registered && pid != s.pid))
    return end(id, "Register came from another process than the connection's");
  std::unique_ptr<Session> before;
  if (Session* const old = s.registered ? &s : find_deputy(pid); old != nullptr && !s.spawned) {
    // After exec: the connection may be the same or a new one; rings and channels of the old image are gone.
    before = std::make_unique<Session>();
    before->state = old->state;
    before->pid = pid;
    if (old == &s) {
      events_.on_gone(s, "it has executed another program");
      s.port = 0;
    } else {
      end(old->id, "it has registered anew");
    }
  }
  s.registered = true;
  s.pid = pid;
  s.role = m.role;
  s.engine = m.engine;
  s.ia32 = m.ia32 != 0;
  s.comm = get_text(m.comm);
  s.exe = get_text(m.exe);
  s.state = {};
  s.affinity = {};
  s.deadline_ms = 0;
  if (m.role == local::Role::Deputy) deputies_[pid] = id;
  if (!s.process) {
    s.process = open_process(pid);
    if (!s.process) return end(id, "the process has ended");
    const auto watch =
        poller_.add(s.process.get(), EPOLLIN, [this, id](std::uint32_t) { process_ended(id); });
    if (watch) s.process_watch = *watch;
  }
  events_.on_register(s, m, m.keeps != 0 ? before.get() : nullptr);
}

void Sessions::handle_adopt(Session& s, Incoming& in) {
  if (in.descriptor_count != 1) return end(s.id, "Adopt came without its one descriptor");
  int type = 0;
  socklen_t size = sizeof type;
  const int fd = in.descriptors[0].get();
  const bool good = ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
  if (!good) return end(s.id, "Adopt came with something that is no SOCK_SEQPACKET socket");
  if (sessions_.size() >= kMaxSessions) return;
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  add(std::move(in.descriptors[0]), s.uid, 0);
}

void Sessions::send(Session& s, std::span<const std::byte> message, std::span<const int> descriptors) {
  if (!s.socket) return;
  if (s.unsent.empty() || !descriptors.empty()) {
    const Status sent = send_datagram(s.socket.get(), message, descriptors);
    if (sent) return;
    if (sent.error().code == EPIPE || sent.error().code == ECONNRESET)
      return;  // the hang-up is reported by epoll
    if (sent.error().code != EAGAIN || !descriptors.empty()) return doom(s, "it cannot be sent messages");
  }
  if (s.unsent.size() >= kMaxUnsent) return doom(s, "it does not read its messages");
  s.unsent.emplace_back(message.begin(), message.end());
  static_cast<void>(!poller_.change(s.watch, EPOLLIN | EPOLLOUT));
}

bool Sessions::flush(Session& s) {
  while (!s.unsent.empty()) {
    const Status sent = send_datagram(s.socket.get(), s.unsent.front(), {});
    if (!sent && sent.error().code == EAGAIN) return true;
    if (!sent) {
      end(s.id, "it cannot be sent messages");
      return false;
    }
    s.unsent.pop_front();
  }
  static_cast<void>(!poller_.change(s.watch, EPOLLIN));
  return true;
}

void Sessions::end(SessionId id, const std::string& why) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  // Out of the tables first: whatever on_gone does, nobody finds it half dead.
  const std::unique_ptr<Session> s = std::move(found->second);
  sessions_.erase(found);
  if (const auto d = deputies_.find(s->pid); d != deputies_.end() && d->second == id) deputies_.erase(d);
  poller_.remove(s->watch);
  poller_.remove(s->process_watch);
  events_.on_gone(*s, why);
}

void Sessions::hang_up(Session& s) {
  if (!s.spawned || s.process_watch == 0) return end(s.id, "it has hung up");
  // A remote is ours: it is ended here and now (it may be ending already), and process_ended() knows how it
  // went.
  poller_.remove(std::exchange(s.watch, 0));
  ::syscall(SYS_pidfd_send_signal, s.process.get(), SIGKILL, nullptr, 0);
}

void Sessions::process_ended(SessionId id) {
  // What it said before it ended counts.
  for (int i = 0; i < 1024; ++i) {
    Session* const s = find(id);
    if (s == nullptr) return;
    Incoming in;
    if (s->watch == 0 || !receive(*s, in)) break;
    handle(id, in);
  }
  end(id, "the process has ended");
}

void Sessions::doom(const Session& s, const char* why) { doomed_.emplace_back(s.id, why); }

void Sessions::reap() {
  while (!doomed_.empty()) {
    const auto [id, why] = doomed_.back();
    doomed_.pop_back();
    end(id, why);
  }
}

void Sessions::tick(std::uint64_t now_ms) {
  now_ms_ = now_ms;
  std::vector<SessionId> late;
  for (const auto& [id, s] : sessions_)
    if (s->deadline_ms != 0 && s->deadline_ms < now_ms) late.push_back(id);
  for (const SessionId id : late) end(id, "it did not register in time");
}

}  // namespace hpcvmm::daemon
