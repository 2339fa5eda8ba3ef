#include "vmm/gdb/server.hh"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "vmm/gdb/server_impl.hh"
#include "vmm/sys/siginfo.hh"

namespace hpcvmm::gdb {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;
constexpr int kKickAgainMs = 10;
constexpr int kCallGraceMs = 1;  // a call that does not wait is over by then
constexpr int kBringOutRounds = 50;

Result<int> listen_tcp(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::last("--gdb: socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return Error::last("--gdb: bind");
  if (::listen(fd.get(), 1) != 0) return Error::last("--gdb: listen");
  return fd.release();
}

Result<int> listen_unix(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.sun_path)
    return Error::of(ENAMETOOLONG, "--gdb: path of the socket");
  std::memcpy(a.sun_path, path.c_str(), path.size() + 1);
  struct stat s {};
  if (::lstat(path.c_str(), &s) == 0 && S_ISSOCK(s.st_mode)) ::unlink(path.c_str());  // of an earlier run
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::last("--gdb: socket");
  const mode_t before = ::umask(0177);  // whoever can connect can do all the program can
  const int rc = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a);
  ::umask(before);
  if (rc != 0) return Error::last("--gdb: bind");
  if (::listen(fd.get(), 1) != 0) return Error::last("--gdb: listen");
  return fd.release();
}

void kick(const Thread& t) {
  siginfo_t info{};
  info.si_signo = kKickSignal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_ptr = server();
  const auto pid = ::syscall(SYS_getpid);
  ::syscall(SYS_rt_tgsigqueueinfo, pid, t.tid, kKickSignal, &info);
}

}  // namespace

Status Server::connect() {
  HPCVMM_TRY(const int listener, config_.port != 0 ? listen_tcp(config_.port) : listen_unix(config_.path));
  const UniqueFd owned(listener);
  int fd = -1;
  do {
    fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Error::last("--gdb: accept");
  if (config_.port == 0) ::unlink(config_.path.c_str());
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  socket_ = config_.hide_fd(fd);
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return Error::last("--gdb: eventfd");
  event_ = config_.hide_fd(event);
  HPCVMM_CHECK_OK(memory_.open(config_.hide_fd));
  for (int* kept : {&socket_, &event_, memory_.descriptor()}) config_.track_fd(kept);
  return Unit{};
}

Status Server::launch_thread() {
  void* const stack = config_.stack(kStackBytes);
  if (stack == nullptr) return Error::of(ENOMEM, "--gdb: stack");
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstack(&attr, stack, kStackBytes);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  // Everything blocked: no signal of the guest may land on this thread.
  const std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t before = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
  pthread_t thread{};
  const int rc = pthread_create(&thread, &attr, main, this);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8);
  pthread_attr_destroy(&attr);
  if (rc != 0) return Error::of(rc, "--gdb: pthread_create");
  return Unit{};
}

void* Server::main(void* self) {
  static_cast<Server*>(self)->serve();
  // Not by returning: libc would do its bookkeeping for a thread the guest's threads do not know.
  ::syscall(SYS_exit, 0);
  return nullptr;
}

void Server::serve() {
  while (converse()) {
    resume();
    if (!watch()) break;
    collect();
    send_body(session_.report(stop_));
    if (stop_.kind == Stop::Kind::Exited || stop_.kind == Stop::Kind::Killed) {
      detached.store(true);
      ::close(socket_);
      socket_ = -1;
      told.store(1);
      futex_wake(told);
      return;
    }
  }
  detach();
}

bool Server::receive() {
  std::array<char, 4096> piece{};
  const ssize_t n = ::recv(socket_, piece.data(), piece.size(), 0);
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0) return false;
  reader_.feed({piece.data(), static_cast<std::size_t>(n)});
  return true;
}

void Server::send_body(std::string_view body) {
  const std::string bytes = frame(body);
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the next receive() sees the end
    at += static_cast<std::size_t>(n);
  }
}

bool Server::converse() {
  for (;;) {
    auto item = reader_.next();
    if (!item) {
      if (!receive()) return false;
      continue;
    }
    if (item->kind == PacketReader::Kind::Interrupt) continue;  // it is stopped
    const bool good = item->kind == PacketReader::Kind::Packet;
    if (!session_.no_ack()) ::send(socket_, good ? "+" : "-", 1, MSG_NOSIGNAL);
    if (!good) continue;
    const Session::Reply reply = session_.handle(item->body);
    if (reply.send) send_body(reply.body);
    if (reply.then == Session::Then::Resume) return true;
    if (reply.then == Session::Then::Kill) kill_program();
    if (reply.then == Session::Then::Detach) return false;
  }
}

bool Server::watch() {
  for (;;) {
    std::array<pollfd, 2> fds{{{socket_, POLLIN, 0}, {event_, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) {
      std::uint64_t count = 0;
      static_cast<void>(!::read(event_, &count, sizeof count));
      const mem::LockGuard guard(lock);
      if (!running) return true;
    }
    if (fds[0].revents == 0) continue;
    if (!receive()) return false;
    while (auto item = reader_.next()) {
      if (item->kind == PacketReader::Kind::Packet && item->body == "k") kill_program();
      if (item->kind != PacketReader::Kind::Interrupt) continue;
      Stop stop;
      {
        const mem::LockGuard guard(lock);
        if (list.empty()) continue;
        stop.tid = list.front()->tid;
        for (const Thread* t : list)
          if (t->tid == stop_.tid) stop.tid = t->tid;
      }
      stop.value = SIGINT;
      static_cast<void>(claim(stop));  // somebody may have been first: then that is the stop
      return true;
    }
  }
}

bool Server::claim(const Stop& stop) {
  {
    const mem::LockGuard guard(lock);
    if (!running || detached.load()) return false;
    running = false;
    stop_ = stop;
    for (Thread* t : list) t->hold.store(1);
  }
  wake_server();
  return true;
}

void Server::wake_server() const {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(event_, &one, sizeof one));
}

/// Returns when no thread runs guest code any more.
void Server::collect() {
  bool grace = false;
  for (;;) {
    bool moving = false;
    bool calls = false;
    {
      const mem::LockGuard guard(lock);
      for (const Thread* t : list) {
        const std::uint32_t state = t->state.load();
        if (state == Thread::Running) kick(*t);
        moving = moving || state == Thread::Running || state == Thread::Busy;
        calls = calls || state == Thread::InCall;
      }
    }
    // The one who ends the process waits for us, and no other will run again.
    if (stop_.kind == Stop::Kind::Exited || stop_.kind == Stop::Kind::Killed) return;
    if (!moving && (!calls || grace)) return;
    pollfd event{event_, POLLIN, 0};
    ::poll(&event, 1, moving ? kKickAgainMs : kCallGraceMs);
    std::uint64_t count = 0;
    static_cast<void>(!::read(event_, &count, sizeof count));
    grace = grace || (!moving && event.revents == 0);
  }
}

void Server::resume() {
  const mem::LockGuard guard(lock);
  running = true;
  for (Thread* t : list) {
    const Action* chosen = nullptr;
    for (const Action& a : session_.actions()) {
      if (a.thread >= 0 && a.thread != t->tid) continue;
      chosen = &a;
      break;
    }
    if (chosen == nullptr || chosen->stop) continue;
    t->step = chosen->step;
    t->step_ends = t->step_ends && chosen->step;
    if (chosen->signo != 0 && (chosen->thread == t->tid || t->tid == stop_.tid)) t->inject = chosen->signo;
    t->hold.store(0);
    futex_wake(t->hold);
  }
}

void Server::detach() {
  const mem::LockGuard guard(lock);
  breakpoints.clear(memory_);
  files_.close_all();
  detached.store(true);
  running = true;
  for (Thread* t : list) {
    t->step = t->step_ends = false;
    t->hold.store(0);
    futex_wake(t->hold);
  }
  ::close(socket_);
  socket_ = -1;
  told.store(1);
  futex_wake(told);
}

void Server::kill_program() {
  for (;;) ::syscall(SYS_kill, ::syscall(SYS_getpid), SIGKILL);
}

void Server::close_all() {
  files_.close_all();
  for (int* fd : {&socket_, &event_}) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
  memory_.close();
}

int Server::pid() const { return static_cast<int>(::syscall(SYS_getpid)); }

Thread* Server::find(int tid) {
  for (Thread* t : list)
    if (t->tid == tid) return t;
  return nullptr;
}

std::vector<int> Server::threads() {
  const mem::LockGuard guard(lock);
  std::vector<int> out;
  for (const Thread* t : list) out.push_back(t->tid);
  return out;
}

std::string Server::thread_name(int tid) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "/proc/self/task/%d/comm", tid);
  const UniqueFd fd(::open(text.data(), O_RDONLY | O_CLOEXEC));
  const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  std::string name(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

bool Server::get(int tid, RegisterFile& out) {
  const mem::LockGuard guard(lock);
  Thread* const t = find(tid);
  if (t == nullptr) return false;
  out.regs = t->vcpu->regs();
  out.orig_rax = t->call_nr;
  t->vcpu->get_fp(out.fp);
  return true;
}

/// A thread inside a call would overwrite its registers when the call ends: interrupts the call.  A call that
/// Linux would restart is wound back; others end with EINTR, as by a handled signal.
bool Server::bring_out(Thread& t) {
  for (int round = 0; round < kBringOutRounds; ++round) {
    if (t.state.load() == Thread::Parked) return true;
    kick(t);
    pollfd event{event_, POLLIN, 0};
    ::poll(&event, 1, kKickAgainMs);
    std::uint64_t count = 0;
    static_cast<void>(!::read(event_, &count, sizeof count));
  }
  return false;
}

bool Server::set(int tid, const RegisterFile& in) {
  Thread* t = nullptr;
  {
    const mem::LockGuard guard(lock);
    t = find(tid);
  }
  // It cannot end meanwhile: it holds.
  if (t == nullptr || !bring_out(*t)) return false;
  t->vcpu->regs() = in.regs;
  FpState now;
  t->vcpu->get_fp(now);
  if (std::memcmp(now.area.data(), in.fp.area.data(), now.area.size()) != 0) t->vcpu->set_fp(in.fp);
  t->step_ends = false;
  return true;
}

std::string Server::siginfo(int tid) {
  const mem::LockGuard guard(lock);
  const Thread* const t = find(tid);
  if (t == nullptr) return {};
  if (config_.abi == Abi::X64) {
    sys::layout::SigInfo64 seen{};
    sys::to_native(t->info, seen);
    return {reinterpret_cast<const char*>(&seen), sizeof seen};
  }
  sys::layout::SigInfo32 seen{};
  sys::to_compat(t->info, seen);
  return {reinterpret_cast<const char*>(&seen), sizeof seen};
}

std::size_t Server::read(std::uint64_t at, void* to, std::size_t bytes) {
  const mem::LockGuard guard(lock);
  return breakpoints.read(at, to, bytes);
}

bool Server::write(std::uint64_t at, const void* from, std::size_t bytes) {
  const mem::LockGuard guard(lock);
  return breakpoints.write(at, from, bytes);
}

bool Server::insert_breakpoint(std::uint64_t at) {
  const mem::LockGuard guard(lock);
  return breakpoints.insert(at);
}

bool Server::remove_breakpoint(std::uint64_t at) {
  const mem::LockGuard guard(lock);
  return breakpoints.remove(at);
}

Status start(const Config& config, Thread& first) {
  auto* const s = new Server(config);  // lives as long as the process
  HPCVMM_CHECK_OK(s->connect());
  first.hold.store(1);
  s->list.push_back(&first);
  s->stop_ = {Stop::Kind::Signal, first.tid, SIGTRAP};
  static_cast<void>(s->session_.report(s->stop_));
  set_server(s);
  return s->launch_thread();
}

}  // namespace hpcvmm::gdb
