// A patch bay in place of a cluster: one process that is the hpcd of every node, without a network between
// them, or with a simulated one that is bad.
//
// It speaks wire/local.hh with real deputies and remotes and copies records from ring to ring, so that moves
// can be tested and taken apart without daemons, namespaces or privileges beyond the remote's own.
//
//   patchbay SOCKET HPC-VMM [--storm MS] [--loss P] [--reorder P] [--delay US] [--seed N] [--cut MS]
//
// --storm MS moves every process each MS milliseconds; 0: never, and stdin is not read.  Any of the others
// puts the transport over the simulated network between deputies and remotes; P is 0.01 or 1%.  --cut MS:
// after so long nothing arrives any more.
//
// Commands on stdin: "move PID NODE" (1: home), "quit".  Every answer is a line on stdout.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/files.hh"
#include "hpcvmm/wire/ring.hh"
#include "tests/migrate/bad_link.hh"

namespace {

using namespace hpcvmm::wire::local;
using hpcvmm::test::BadLink;
using hpcvmm::test::End;

constexpr std::uint64_t kRing = kRingBytes;

struct Process {
  int control = -1;
  pid_t pid = 0;
  bool remote = false;
  bool registered = false;
  Node where = 1;
  void* memory = nullptr;
  int wake_vmm = -1, wake_me = -1;
  Consumer in[2];
  Producer out[2];
  // deputy: channel -> remote; remote: its deputy and the channel there
  std::map<std::uint32_t, Process*> channels;
  Process* deputy = nullptr;
  std::uint32_t deputy_channel = 0;
  std::uint32_t circuit = 0;     // remote: its number on the bad link
  std::uint32_t migrations = 0;  // deputy: as it has said itself
  std::uint64_t next_move_ms = 0;
  bool moving = false;
  unsigned step = 0;
  bool gone = false;
};

std::vector<std::unique_ptr<Process>> g_processes;
std::string g_vmm;
unsigned g_storm_ms = 0;
std::uint64_t g_moves = 0, g_failed = 0, g_migrations = 0;
std::unique_ptr<BadLink> g_link;
std::map<std::uint32_t, Process*> g_circuits;  // remotes
hpcvmm::daemon::Files g_files;                 // of every node

std::uint64_t now_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000000;
}

template <class T> void say_to(const Process& p, const T& message) {
  static_cast<void>(!send(p.control, &message, sizeof message, MSG_NOSIGNAL));
}

template <class T> void say_with(const Process& p, T message, std::initializer_list<int> fds) {
  iovec io{&message, sizeof message};
  alignas(cmsghdr) char extra[CMSG_SPACE(3 * sizeof(int))] = {};
  msghdr m{};
  m.msg_iov = &io;
  m.msg_iovlen = 1;
  m.msg_control = extra;
  m.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  memcpy(CMSG_DATA(c), fds.begin(), fds.size() * sizeof(int));
  static_cast<void>(!sendmsg(p.control, &m, MSG_NOSIGNAL));
}

void give_rings(Process& p) {
  if (p.memory != nullptr) return;
  const std::size_t each = ring_memory(kRing);
  const int fd = memfd_create("rings", MFD_CLOEXEC);
  if (ftruncate(fd, static_cast<off_t>(4 * each)) != 0) abort();
  p.memory = mmap(nullptr, 4 * each, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  p.wake_vmm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  p.wake_me = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  auto* const base = static_cast<char*>(p.memory);
  for (unsigned i = 0; i < 2; ++i) {
    p.in[i] = Consumer(base + i * each, kRing);
    p.out[i] = Producer(base + (i + 2) * each, kRing);
  }
  Attach a;
  a.ring_bytes = kRing;
  if (!p.remote) say_with(p, FileTable{}, {g_files.table_fd()});
  say_with(p, a, {fd, p.wake_vmm, p.wake_me});
  close(fd);
}

Process& add(int control) {
  g_processes.push_back(std::make_unique<Process>());
  g_processes.back()->control = control;
  return *g_processes.back();
}

void open_channel(Process& p, const Open& o) {
  if (g_link && g_link->lost()) {
    Opened no;
    no.channel = o.channel;
    no.code = EHOSTDOWN;
    snprintf(no.why, sizeof no.why, "the link is lost");
    return say_to(p, no);
  }
  give_rings(p);
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) abort();
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(pair[1], 3);
    close(4);
    close(5);
    execl(g_vmm.c_str(), "hpc-vmm", "remote", nullptr);
    _exit(127);
  }
  close(pair[1]);
  Process& r = add(pair[0]);
  r.remote = true;
  r.pid = child;
  r.deputy = &p;
  r.deputy_channel = o.channel;
  r.circuit = static_cast<std::uint32_t>(g_circuits.size()) + 1;
  g_circuits[r.circuit] = &r;
  p.channels[o.channel] = &r;
}

void end(Process& p, const char* why = nullptr) {
  if (p.gone) return;
  p.gone = true;
  close(p.control);
  if (p.remote) {
    kill(p.pid, SIGKILL);
    int status = 0;
    waitpid(p.pid, &status, 0);
    if (!p.deputy->gone && p.deputy->channels.count(p.deputy_channel) != 0) {
      p.deputy->channels.erase(p.deputy_channel);
      Closed c;
      c.channel = p.deputy_channel;
      if (why != nullptr) {
        snprintf(c.why, sizeof c.why, "%s", why);
      } else {
        snprintf(c.why, sizeof c.why, "its process there has ended (status 0x%x)",
                 static_cast<unsigned>(status));
      }
      say_to(*p.deputy, c);
    }
  } else {
    for (auto& [channel, r] : p.channels) {
      Process* const remote = r;
      end(*remote);
    }
  }
  if (p.memory != nullptr) munmap(p.memory, 4 * ring_memory(kRing));
  for (int fd : {p.wake_vmm, p.wake_me})
    if (fd >= 0) close(fd);
}

void start_move(Process& p, Node node) {
  static std::uint64_t request = 0;
  Move m;
  m.request = ++request;
  m.node = node;
  m.mode = static_cast<Mode>(request % 3);  // each mode in turn
  p.moving = true;
  say_to(p, m);
}

void hear(Process& p) {
  alignas(8) char room[kMaxMessage];
  const ssize_t n = recv(p.control, room, sizeof room, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return end(p);
  Header h{};
  memcpy(&h, room, sizeof h);
  switch (h.type) {
    case Type::Register: {
      Register r;
      memcpy(&r, room, sizeof r);
      p.registered = true;
      if (r.role == Role::Remote) {
        give_rings(p);
        Opened o;
        o.channel = p.deputy_channel;
        say_to(*p.deputy, o);
        return;
      }
      p.pid = r.pid;
      p.next_move_ms = now_ms() + g_storm_ms;
      p.moving = r.role == Role::Share;  // never moved
      Welcome w;
      w.node = 1;
      say_to(p, w);
      printf("registered %d %s\n", p.pid, r.comm);
      return;
    }
    case Type::Open: {
      Open o;
      memcpy(&o, room, sizeof o);
      return open_channel(p, o);
    }
    case Type::Close: {
      Close c;
      memcpy(&c, room, sizeof c);
      const auto it = p.channels.find(c.channel);
      if (it == p.channels.end()) return;
      Process* const r = it->second;
      p.channels.erase(it);
      return end(*r);
    }
    case Type::State: {
      State s;
      memcpy(&s, room, sizeof s);
      g_migrations += s.migrations - p.migrations;
      p.migrations = s.migrations;
      return;
    }
    case Type::MoveDone: {
      MoveDone d;
      memcpy(&d, room, sizeof d);
      p.moving = false;
      p.where = d.where;
      p.next_move_ms = now_ms() + g_storm_ms;
      ++(d.code == 0 ? g_moves : g_failed);
      if (g_storm_ms == 0 || d.code != 0)
        printf(
            "moved %d code %d where %u downtime_us %llu total_us %llu pushed %llu faulted %llu zero %llu "
            "known %llu bytes %llu %s\n",
            p.pid, d.code, d.where, static_cast<unsigned long long>(d.figures.downtime_us),
            static_cast<unsigned long long>(d.figures.total_us),
            static_cast<unsigned long long>(d.figures.pages_pushed),
            static_cast<unsigned long long>(d.figures.pages_faulted),
            static_cast<unsigned long long>(d.figures.pages_zero),
            static_cast<unsigned long long>(d.figures.pages_known),
            static_cast<unsigned long long>(d.figures.bytes), d.why);
      return;
    }
    case Type::FileSeen: {
      FileSeen s;
      memcpy(&s, room, sizeof s);
      return g_files.seen(s);
    }
    case Type::FileAsk: {
      FileAsk a;
      memcpy(&a, room, sizeof a);
      const auto found = g_files.ask(a);
      FileAnswer answer;
      answer.id = a.id;
      answer.code = found.code;
      if (found.code == 0) return say_with(p, answer, {found.fd});
      return say_to(p, answer);
    }
    default: return;
  }
}

/// False: its ring is full.
bool put(Process& to, unsigned stream, std::uint32_t channel, const void* data, std::uint32_t bytes) {
  if (to.gone || to.memory == nullptr) return true;
  std::byte* const room = to.out[stream].reserve(channel, bytes);
  if (room == nullptr) return false;
  memcpy(room, data, bytes);
  if (to.out[stream].publish()) {
    const std::uint64_t one = 1;
    static_cast<void>(!write(to.wake_vmm, &one, sizeof one));
  }
  return true;
}

bool deliver(End end, std::uint32_t circuit, unsigned stream, std::span<const std::byte> record) {
  Process& remote = *g_circuits.at(circuit);
  if (remote.gone) return true;
  const bool there = end == End::Remotes;
  return put(there ? remote : *remote.deputy, stream, there ? 1 : remote.deputy_channel, record.data(),
             static_cast<std::uint32_t>(record.size()));
}

bool relay(Process& from, unsigned stream) {
  Consumer::View v;
  bool any = false;
  for (unsigned i = 0; i < 64 && from.in[stream].peek(v); ++i) {
    Process* remote = from.remote ? &from : nullptr;
    if (!from.remote) {
      const auto it = from.channels.find(v.channel);
      if (it != from.channels.end()) remote = it->second;
    }
    const End from_end = from.remote ? End::Remotes : End::Deputies;
    const End to_end = from.remote ? End::Deputies : End::Remotes;
    const std::span record(v.data, v.bytes);
    const bool gone = remote == nullptr || remote->gone;
    if (!gone && !(g_link ? g_link->send(from_end, remote->circuit, stream, record)
                          : deliver(to_end, remote->circuit, stream, record)))
      break;
    from.in[stream].pop();
    any = true;
  }
  return any;
}

void command() {
  char line[256];
  if (fgets(line, sizeof line, stdin) == nullptr) exit(0);
  int pid = 0;
  unsigned node = 0;
  if (strncmp(line, "quit", 4) == 0) exit(0);
  if (sscanf(line, "move %d %u", &pid, &node) != 2) return;
  for (auto& p : g_processes)
    if (!p->gone && !p->remote && p->pid == pid) return start_move(*p, node);
  printf("no process %d\n", pid);
}

double probability(const char* text) {
  char* end = nullptr;
  const double p = strtod(text, &end);
  return *end == '%' ? p / 100 : p;
}

bool read_options(int argc, char** argv, bool& input) {
  hpcvmm::net::SimLink link;
  std::uint64_t seed = 1;
  hpcvmm::net::Nanos cut = 0;
  bool bad = false;
  for (int i = 3; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) return false;
    const char* const value = argv[i + 1];
    if (option == "--storm") {
      g_storm_ms = static_cast<unsigned>(atoi(value));
      input = false;
      continue;
    }
    bad = true;
    if (option == "--loss") {
      link.loss = probability(value);
    } else if (option == "--reorder") {
      link.reorder = probability(value);
    } else if (option == "--delay") {
      link.delay = atol(value) * hpcvmm::net::kMicrosecond;
    } else if (option == "--cut") {
      cut = atol(value) * hpcvmm::net::kMillisecond;
    } else if (option == "--seed") {
      seed = strtoull(value, nullptr, 10);
    } else {
      return false;
    }
  }
  if (bad) g_link = std::make_unique<BadLink>(link, seed, deliver);
  if (cut != 0) g_link->cut(cut);
  return true;
}

/// Sleeps until there may be something to do.  A bad link wants more often than milliseconds.
void wait(std::vector<pollfd>& fds, bool busy) {
  std::int64_t ns = busy ? 0 : std::int64_t{g_storm_ms != 0 ? 2 : 1000} * 1'000'000;
  if (g_link) ns = std::clamp<std::int64_t>(g_link->idle(), 0, ns);
  const timespec t{ns / 1'000'000'000, ns % 1'000'000'000};
  ppoll(fds.data(), fds.size(), &t, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  g_vmm = argv[2];
  setvbuf(stdout, nullptr, _IOLBF, 0);
  bool input = true;
  if (!read_options(argc, argv, input)) return 2;
  if (!g_files.open()) return 1;
  unlink(argv[1]);
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[1]);
  if (bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(listener, 64) != 0) {
    perror(argv[1]);
    return 1;
  }
  bool stop = false;
  static volatile bool* const stopping = &stop;
  signal(SIGTERM, [](int) { *stopping = true; });
  while (!*stopping) {
    std::vector<pollfd> fds{{listener, POLLIN, 0}, {input ? 0 : -1, POLLIN, 0}, {g_files.fd(), POLLIN, 0}};
    bool busy = g_link && g_link->pass();
    for (std::size_t i = 0; i < g_processes.size(); ++i) {
      Process& p = *g_processes[i];
      if (p.gone || p.memory == nullptr) continue;
      for (unsigned s = 0; s < 2; ++s) busy = relay(p, s) || busy;
    }
    for (auto& p : g_processes) {
      if (p->gone) continue;
      fds.push_back({p->control, POLLIN, 0});
      if (p->memory == nullptr) continue;
      fds.push_back({p->wake_me, POLLIN, 0});
      if (!p->in[0].prepare_sleep() || !p->in[1].prepare_sleep()) busy = true;
    }
    wait(fds, busy);
    for (auto& p : g_processes) {
      if (p->gone || p->memory == nullptr) continue;
      std::uint64_t count = 0;
      static_cast<void>(!read(p->wake_me, &count, sizeof count));
      p->in[0].wake();
      p->in[1].wake();
    }
    if (fds[0].revents != 0) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) add(fd);
    }
    if (fds[1].revents != 0) command();
    if (fds[2].revents != 0) g_files.collect();
    for (std::size_t i = 0; i < g_processes.size(); ++i)
      if (!g_processes[i]->gone) hear(*g_processes[i]);
    if (g_link && g_link->lost())
      for (auto& p : g_processes)
        if (p->remote) end(*p, "the link is lost");
    if (g_storm_ms != 0)
      for (auto& p : g_processes) {
        if (p->gone || p->remote || !p->registered || p->moving || now_ms() < p->next_move_ms) continue;
        static constexpr Node kTour[] = {2, 3, 1, 2, 1};
        start_move(*p, kTour[p->step++ % 5]);
      }
  }
  if (g_link) printf("%s\n", g_link->summary().c_str());
  printf("files known %llu given %llu\n", static_cast<unsigned long long>(g_files.counters().hashed),
         static_cast<unsigned long long>(g_files.counters().given));
  printf("moves %llu failed %llu migrations %llu\n", static_cast<unsigned long long>(g_moves),
         static_cast<unsigned long long>(g_failed), static_cast<unsigned long long>(g_migrations));
  for (auto& p : g_processes)
    if (!p->gone && p->remote) kill(p->pid, SIGKILL);
  return 0;
}
