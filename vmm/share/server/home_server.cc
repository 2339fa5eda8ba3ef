// The server of a home: keeps the directory of every object that sharers of this user's have here, and
// watches those of them that somebody away maps.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "vmm/migrate/host.hh"
#include "vmm/share/client.hh"
#include "vmm/share/server/doorkeeper.hh"
#include "vmm/share/server/outsiders.hh"
#include "vmm/share/server/server.hh"

namespace hpcvmm::share {
namespace {

namespace local = wire::local;

constexpr std::uint64_t kIdleUs = 3'000'000;  // without clients: the end
constexpr std::uint64_t kForkUs = 1'000'000;  // until a forked process must have told of itself
constexpr std::uint64_t kLookAgainUs = 20'000;
constexpr std::uint64_t kVisitUs = 300'000;     // a guest who stays longer brings sharers home
constexpr std::uint64_t kNodeIdleUs = 500'000;  // a channel that nobody needs
constexpr std::uint32_t kTmpfs = 0x01021994;    // statfs(2)

struct Node {
  enum class State : std::uint8_t { Opening, Asked, Ready };
  std::uint32_t node = 0, channel = 0;
  Party party = 0;
  State state = State::Opening;
  std::string name;
  std::uint64_t used_us = 0;
};

class HomeServer;

struct HomeObject final : Object, Actions {
  HomeObject(HomeServer& s) : server(s), directory(*this) {}
  HomeServer& server;
  Directory directory;
  std::uint64_t device = 0, inode = 0;
  std::uint64_t bytes = 0;

  /// Others who have opened it: pages are at home while one of them has.
  struct Guest {
    Doorkeeper::Visitor visitor;  // waits to be let in while it has a file
    std::uint64_t since_us = 0, look_us = 0;
  };
  std::vector<Guest> guests;
  bool blocked = false;  // a guest stays: nobody may leave with it

  void recall(Party party, std::uint64_t page, bool all, std::uint32_t serial) override;
  void grant(Party party, std::uint64_t page, bool write, const Content* content) override;
  void here(std::uint64_t page) override {
    sharers::wake(*this, page, directory.at_home(page) == Have::Write);
  }
  void share(std::uint64_t page, Content& out) override {
    sharers::protect(*this, page);
    sharers::read(*this, page, out);
  }
  void take(std::uint64_t page, Content& out) override { sharers::take(*this, page, out); }
  void put(std::uint64_t page, const Content& content, bool write) override {
    sharers::put(*this, page, content, write);
  }
  void lost(std::uint64_t page) override;
};

class HomeServer final : public Server {
 public:
  [[noreturn]] void serve(int cluster);
  void note_to(Party party, const Note& n, const Content* content) {
    if (Node* const n_of = by_party(party)) send(n_of->channel, n, content);
  }

 private:
  void on_fault(Sharer& c, const sharers::Fault& f) override;
  bool on_request(Sharer& c, const Request& r, UniqueFd fd, Reply& out, int& send) override;
  void on_note(std::uint32_t channel, const Note& n, const Content* content) override;
  void on_control() override;
  void on_gone(Sharer& c) override;
  std::uint64_t tick(std::uint64_t now_us) override;

  void add(Sharer& c, const Request& r, UniqueFd fd, Reply& out);
  bool travel(Sharer& c, const Request& r, Reply& out);
  bool freeze(Sharer& c, const Request& r, Reply& out);
  void thaw(Sharer& c, std::uint64_t device, std::uint64_t inode);
  int activate(HomeObject& o, std::string& why);
  [[nodiscard]] bool is_needed(const HomeObject& o) const;
  void settle(HomeObject& o);
  void publish();
  Node* by_party(Party party);
  Node* by_channel(std::uint32_t channel);
  HomeObject* find(std::uint64_t device, std::uint64_t inode);
  void lose(std::uint32_t channel, const char* why);
  void node_answer(std::uint32_t node, int code, const std::string& text);
  bool close_unused(std::uint64_t now_us);
  [[nodiscard]] int extra_fd() const override { return door_.fd(); }
  void on_extra() override;
  std::uint64_t see_to_guests(HomeObject& o, std::uint64_t now_us);
  void call_home(HomeObject& o);
  [[nodiscard]] bool is_client(std::int32_t pid) const;
  void give_slot(Sharer& c, Reply& out);
  void count_transfer(const HomeObject& o, std::uint32_t node);

  migrate::Link own_link_;
  std::map<std::uint32_t, std::unique_ptr<HomeObject>> objects_;  // by number
  std::map<std::uint32_t, Node> nodes_;                           // by channel
  std::uint32_t last_object_ = 0, last_channel_ = 0;
  std::uint64_t epoch_ = 0;
  std::uint64_t idle_since_us_ = 0;
  Doorkeeper door_;
  int table_fd_ = -1;
  Table* table_ = nullptr;
};

void HomeObject::recall(Party party, std::uint64_t page, bool all, std::uint32_t serial) {
  Note n;
  n.type = NoteType::Recall;
  n.flags = all ? kWrite : 0;
  n.object = number;
  n.page = page;
  n.serial = serial;
  server.note_to(party, n, nullptr);
}

void HomeObject::grant(Party party, std::uint64_t page, bool write, const Content* content) {
  Note n;
  n.type = NoteType::Grant;
  n.flags = write ? kWrite : 0;
  n.object = number;
  n.page = page;
  server.note_to(party, n, content);
}

/// Nobody can go on who counts on it.
void HomeObject::lost(std::uint64_t page) {
  static_cast<void>(page);
  for (const Sharer* c : clients) ::kill(c->pid, SIGKILL);
}

void HomeServer::serve(int cluster) {
  std::array<char, 64> name{};
  if (!server_name(cluster, name.data(), name.size()) || !listen(name.data())) ::_exit(0);
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", cluster);
  link_ = &own_link_;
  if (!own_link_.connect(path.data())) ::_exit(1);
  local::Register r{};
  r.role = local::Role::Share;
  r.pid = ::getpid();
  std::snprintf(r.comm, sizeof r.comm, "hpc-vmm-share");
  own_link_.send_control(&r, sizeof r);
  table_fd_ = ::memfd_create("hpc-vmm-share-table", MFD_CLOEXEC);
  if (::ftruncate(table_fd_, sizeof(Table)) != 0) ::_exit(1);
  void* const at = ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, table_fd_, 0);
  if (at == MAP_FAILED) ::_exit(1);
  table_ = static_cast<Table*>(at);
  run();
}

Node* HomeServer::by_party(Party party) {
  for (auto& [channel, n] : nodes_)
    if (n.party == party) return &n;
  return nullptr;
}

Node* HomeServer::by_channel(std::uint32_t channel) {
  const auto it = nodes_.find(channel);
  return it == nodes_.end() ? nullptr : &it->second;
}

HomeObject* HomeServer::find(std::uint64_t device, std::uint64_t inode) {
  for (auto& [number, o] : objects_)
    if (o->device == device && o->inode == inode) return o.get();
  return nullptr;
}

// --- clients

bool HomeServer::on_request(Sharer& c, const Request& r, UniqueFd fd, Reply& out, int& send) {
  switch (r.ask) {
    case Ask::Hello:
      send = table_fd_;
      give_slot(c, out);
      return true;
    case Ask::Bell: c.bell = std::move(fd); return true;
    case Ask::Add: add(c, r, std::move(fd), out); return true;
    case Ask::Remove: sharers::remove(c, r.begin, r.end); return true;
    case Ask::Travel: {
      c.travel_until_us = migrate::now_us() + kForkUs;
      c.travel_again_us = 0;
      const bool answered = travel(c, r, out);
      if (!answered && c.waits_for_node == 0) {
        c.travel_again_us = migrate::now_us() + kLookAgainUs;
        c.travels_to = r.node;
      }
      return answered;
    }
    case Ask::Back: c.node = 0; return true;
    case Ask::Freeze: return freeze(c, r, out);
    case Ask::Thaw: thaw(c, r.device, r.inode); return true;
    default: out.code = EINVAL; return true;
  }
}

void HomeServer::add(Sharer& c, const Request& r, UniqueFd fd, Reply& out) {
  struct stat s {};
  struct statfs fs {};
  const auto refuse = [&](int code, const char* why) {
    out.code = code;
    std::snprintf(out.text, sizeof out.text, "%s", why);
  };
  if (!fd || r.begin >= r.end || r.offset % kPageBytes != 0 || ::fstat(fd.get(), &s) != 0 ||
      ::fstatfs(fd.get(), &fs) != 0)
    return refuse(EINVAL, "it cannot be looked at");
  if (static_cast<std::uint32_t>(fs.f_type) != kTmpfs || !S_ISREG(s.st_mode))
    return refuse(EOPNOTSUPP, "it is a file, not memory");
  if (const int seals = ::fcntl(fd.get(), F_GET_SEALS);
      seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
    return refuse(EOPNOTSUPP, "it is sealed against writing");
  HomeObject* o = find(s.st_dev, s.st_ino);
  if (o == nullptr) {
    auto made = std::make_unique<HomeObject>(*this);
    made->number = ++last_object_ % 65535 + 1;
    while (objects_.contains(made->number)) made->number = ++last_object_ % 65535 + 1;
    made->fd = std::move(fd);
    made->device = s.st_dev;
    made->inode = s.st_ino;
    o = objects_.emplace(made->number, std::move(made)).first->second.get();
  }
  o->bytes = static_cast<std::uint64_t>(s.st_size);
  out.object = o->number;
  if (const int e = sharers::add(c, r.begin, {r.end, o, r.offset})) return refuse(e, "it cannot be watched");
  std::string why;
  if (c.node == 0 || o->watched) return;
  if (const int e = activate(*o, why)) refuse(e, why.c_str());
}

/// From now on its pages may go to other nodes.
int HomeServer::activate(HomeObject& o, std::string& why) {
  std::vector<std::int32_t> ours;
  for (const Sharer* c : o.clients) ours.push_back(c->pid);
  if (const Outsider other = find_outsider(o.device, o.inode, ours); !other.name.empty()) {
    why = "shared with " + other.name +
          (other.is_own ? ", which has another home" : ", which hpc-vmm does not run");
    return other.is_own ? EAGAIN : EBUSY;
  }
  struct stat file {};
  if (::fstat(o.fd.get(), &file) != 0) return errno;
  if (file.st_nlink != 0 && !door_.guard(o.fd.get())) {
    why = "others could open it by its name unseen: that needs CAP_SYS_ADMIN";
    return EPERM;
  }
  if (const int e = sharers::watch(o)) {
    door_.leave(o.fd.get());
    why = "it cannot be watched (errno " + std::to_string(e) + ")";
    return e;
  }
  publish();
  return 0;
}

bool HomeServer::travel(Sharer& c, const Request& r, Reply& out) {
  if (c.slot != 0) table_->slots[c.slot].come_home = 0;
  for (const auto& [begin, range] : c.ranges) {
    const auto* const o = static_cast<const HomeObject*>(range.object);
    if (!o->blocked) continue;
    out.code = EBUSY;
    std::snprintf(out.text, sizeof out.text, "pid %d, which is no sharer, has it open",
                  o->guests.front().visitor.pid);
    return true;
  }
  c.node = r.node;
  std::string why;
  std::vector<HomeObject*> mine;
  for (const auto& [begin, range] : c.ranges) {
    auto* const o = static_cast<HomeObject*>(range.object);
    if (o->watched || std::find(mine.begin(), mine.end(), o) != mine.end()) continue;
    mine.push_back(o);
    if (const int e = activate(*o, why)) {
      c.node = 0;
      if (e == EAGAIN && migrate::now_us() < c.travel_until_us) return false;
      out.code = e;
      std::snprintf(out.text, sizeof out.text, "%s", why.c_str());
      return true;
    }
  }
  for (auto& [channel, n] : nodes_) {
    if (n.node != r.node) continue;
    n.used_us = migrate::now_us();
    if (n.state == Node::State::Ready) {
      std::snprintf(out.text, sizeof out.text, "%s", n.name.c_str());
      return true;
    }
    c.waits_for_node = r.node;
    return false;
  }
  Node n;
  n.node = r.node;
  for (Party p = 1; p < kMostParties && n.party == 0; ++p)
    if (by_party(p) == nullptr) n.party = p;
  if (n.party == 0) {
    c.node = 0;
    out.code = EUSERS;
    std::snprintf(out.text, sizeof out.text, "its memory is shared by more than %u nodes", kMostParties - 1);
    return true;
  }
  n.channel = last_channel_ = last_channel_ % 65535 + 1;
  n.used_us = migrate::now_us();
  std::array<unsigned char, 16> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) ::_exit(1);
  n.name = "hpc-vmm-share.";
  for (const unsigned char b : random) {
    std::array<char, 3> hex{};
    std::snprintf(hex.data(), hex.size(), "%02x", b);
    n.name += hex.data();
  }
  local::Open open{};
  open.channel = n.channel;
  open.node = n.node;
  open.epoch = ++epoch_;
  std::snprintf(open.comm, sizeof open.comm, "hpc-vmm-share");
  own_link_.send_control(&open, sizeof open);
  nodes_[n.channel] = n;
  c.waits_for_node = r.node;
  return false;
}

void HomeServer::node_answer(std::uint32_t node, int code, const std::string& text) {
  Reply out;
  out.code = code;
  std::snprintf(out.text, sizeof out.text, "%s", text.c_str());
  for (const auto& c : clients_) {
    if (c->waits_for_node != node) continue;
    c->waits_for_node = 0;
    if (code != 0) c->node = 0;
    answer(*c, out, -1);
  }
}

bool HomeServer::freeze(Sharer& c, const Request& r, Reply& out) {
  HomeObject* const o = find(r.device, r.inode);
  if (o == nullptr || !o->watched) {
    out.code = ENOENT;
    return true;
  }
  o->directory.freeze(migrate::now_us());
  c.freezes.push_back(o);
  c.waits_frozen = o;
  return false;
}

void HomeServer::thaw(Sharer& c, std::uint64_t device, std::uint64_t inode) {
  const auto it = std::find_if(c.freezes.begin(), c.freezes.end(), [&](const Object* o) {
    const auto* const h = static_cast<const HomeObject*>(o);
    return h->device == device && h->inode == inode;
  });
  if (it == c.freezes.end()) return;
  auto* const o = static_cast<HomeObject*>(*it);
  c.freezes.erase(it);
  o->directory.thaw(migrate::now_us());
}

void HomeServer::on_gone(Sharer& c) {
  c.node = 0;
  const std::vector<Object*> all = c.freezes;
  for (Object* o : all) thaw(c, static_cast<HomeObject*>(o)->device, static_cast<HomeObject*>(o)->inode);
}

void HomeServer::on_fault(Sharer& c, const sharers::Fault& f) {
  std::uint64_t page = 0;
  Object* const found = sharers::find(c, f.address, page);
  if (found == nullptr) return sharers::wake_one(c, f.address, false);
  auto& o = static_cast<HomeObject&>(*found);
  const Have have = o.directory.at_home(page);
  if (have == Have::Write && f.is_protected) return sharers::wake_one(c, f.address, true);
  // There already, or a page that nobody has ever written.
  if (have == Have::Write) return sharers::zero(c, f.address);
  if (have == Have::Read && !f.is_protected) return sharers::wake_one(c, f.address, false);
  o.waiters[page].push_back({&c, f.address});
  o.directory.request(0, page, f.write, migrate::now_us());
}

// --- other nodes

void HomeServer::on_note(std::uint32_t channel, const Note& n, const Content* content) {
  Node* const node = by_channel(channel);
  if (node == nullptr) return;
  if (n.type == NoteType::Ready) {
    if (n.flags != 0) return lose(channel, "no socket for shared memory on that node");
    node->state = Node::State::Ready;
    return node_answer(node->node, 0, node->name);
  }
  const auto it = objects_.find(n.object);
  if (it == objects_.end() || !it->second->watched) return;
  HomeObject& o = *it->second;
  count_transfer(o, node->node);
  if (n.type == NoteType::Want)
    o.directory.request(node->party, n.page, (n.flags & kWrite) != 0, migrate::now_us());
  if (n.type == NoteType::Yield)
    o.directory.yielded(node->party, n.page, n.serial, content, migrate::now_us());
}

void HomeServer::lose(std::uint32_t channel, const char* why) {
  const auto it = nodes_.find(channel);
  if (it == nodes_.end()) return;
  const Node n = it->second;
  nodes_.erase(it);
  for (auto& [number, o] : objects_) o->directory.party_lost(n.party, migrate::now_us());
  node_answer(n.node, EHOSTDOWN, why);
}

void HomeServer::on_control() {
  alignas(8) std::array<char, local::kMaxMessage> room{};
  int fds[3] = {-1, -1, -1};
  const std::ptrdiff_t n = own_link_.receive_control(room.data(), fds, 0);
  if (n == 0) ::_exit(0);  // hpcd has ended
  if (n < 0) return;
  local::Header h{};
  std::memcpy(&h, room.data(), sizeof h);
  const auto as = [&](auto& out) {
    if (static_cast<std::size_t>(n) < sizeof out) return false;
    std::memcpy(&out, room.data(), sizeof out);
    return true;
  };
  if (h.type == local::Type::Attach) {
    local::Attach a{};
    if (as(a) && !own_link_.attached() && !own_link_.attach(a, fds)) ::_exit(1);
    return;
  }
  for (const int fd : fds)
    if (fd >= 0) ::close(fd);
  local::Opened o{};
  local::Closed c{};
  local::Move m{};
  if (h.type == local::Type::Opened && as(o)) {
    Node* const node = by_channel(o.channel);
    if (node == nullptr) return;
    if (o.code != 0) return lose(o.channel, o.why);
    node->state = Node::State::Asked;
    Note serve;
    serve.type = NoteType::Serve;
    Name name;
    std::snprintf(name.text, sizeof name.text, "%s", node->name.c_str());
    own_link_.send(o.channel, migrate::Stream::Urgent, {{&serve, sizeof serve}, {&name, sizeof name}});
  } else if (h.type == local::Type::Closed && as(c)) {
    lose(c.channel, c.why);
  } else if (h.type == local::Type::Move && as(m)) {
    local::MoveDone d{};
    d.request = m.request;
    d.code = EPERM;
    std::snprintf(d.why, sizeof d.why, "it serves shared memory");
    own_link_.send_control(&d, sizeof d);
  }
}

// --- between events

bool HomeServer::is_needed(const HomeObject& o) const {
  return std::any_of(o.clients.begin(), o.clients.end(), [](const Sharer* c) { return c->node != 0; }) ||
         !o.directory.all_home();
}

void HomeServer::settle(HomeObject& o) {
  if (!o.watched || is_needed(o)) return;
  sharers::unwatch(o);
  o.directory.forget_requests();
  door_.leave(o.fd.get());
  publish();
}

// --- others who open it

void HomeServer::give_slot(Sharer& c, Reply& out) {
  std::vector<bool> used(Table::kSlots + 1);
  for (const auto& other : clients_) used[other->slot] = true;
  for (std::uint32_t i = 1; i <= Table::kSlots && c.slot == 0; ++i)
    if (!used[i]) c.slot = i;
  if (c.slot != 0) {
    table_->slots[c.slot].transfers = 0;
    table_->slots[c.slot].come_home = 0;
  }
  out.object = c.slot;
}

void HomeServer::count_transfer(const HomeObject& o, std::uint32_t node) {
  for (const Sharer* c : o.clients)
    if (c->node == node && c->slot != 0)
      table_->slots[c->slot].transfers.fetch_add(1, std::memory_order_relaxed);
}

bool HomeServer::is_client(std::int32_t pid) const {
  return std::any_of(clients_.begin(), clients_.end(), [&](const auto& c) { return c->pid == pid; });
}

void HomeServer::on_extra() {
  Doorkeeper::Visitor v;
  while (door_.next(v)) {
    struct stat s {};
    HomeObject* const o = ::fstat(v.file.get(), &s) == 0 ? find(s.st_dev, s.st_ino) : nullptr;
    if (o == nullptr || !o->watched || is_client(v.pid)) {
      door_.let_in(v);
      continue;
    }
    o->directory.freeze(migrate::now_us());
    o->guests.push_back({std::move(v), migrate::now_us(), 0});
    v = {};
  }
}

void HomeServer::call_home(HomeObject& o) {
  const std::uint64_t one = 1;
  for (const Sharer* c : o.clients) {
    if (c->node == 0 || c->slot == 0) continue;
    table_->slots[c->slot].come_home = 1;
    static_cast<void>(0 > ::write(c->bell.get(), &one, sizeof one));
  }
}

/// Lets them in when every page is here; returns when to look again.
std::uint64_t HomeServer::see_to_guests(HomeObject& o, std::uint64_t now_us) {
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < o.guests.size();) {
    HomeObject::Guest& g = o.guests[i];
    if (g.visitor.file && o.directory.all_home()) {
      door_.let_in(g.visitor);
      g.visitor.file = UniqueFd();
      g.since_us = now_us;
      g.look_us = now_us + kLookAgainUs;
    }
    if (!g.visitor.file && now_us >= g.look_us) {
      if (is_client(g.visitor.pid) || !has_file(g.visitor.pid, o.device, o.inode)) {
        o.guests.erase(o.guests.begin() + static_cast<std::ptrdiff_t>(i));
        o.directory.thaw(now_us);
        continue;
      }
      g.look_us = now_us + kLookAgainUs;
      if (now_us > g.since_us + kVisitUs) {
        o.blocked = true;
        call_home(o);
      }
    }
    if (!g.visitor.file) next = next == 0 ? g.look_us : std::min(next, g.look_us);
    ++i;
  }
  if (o.guests.empty()) o.blocked = false;
  return next;
}

/// For processes that read and write files: which of them have pages elsewhere.
void HomeServer::publish() {
  std::uint32_t count = 0;
  for (const auto& [number, o] : objects_) {
    if (!o->watched) continue;
    if (count < Table::kMost) {
      table_->entries[count].device = o->device;
      table_->entries[count].inode = o->inode;
    }
    ++count;
  }
  table_->count = count;
}

bool HomeServer::close_unused(std::uint64_t now_us) {
  for (auto& [channel, n] : nodes_) {
    const bool used = std::any_of(clients_.begin(), clients_.end(), [&](const auto& c) {
      return c->node == n.node || c->waits_for_node == n.node;
    });
    const bool watched = std::any_of(objects_.begin(), objects_.end(),
                                     [](const auto& o) { return !o.second->directory.all_home(); });
    if (used || watched) n.used_us = now_us;
    if (now_us < n.used_us + kNodeIdleUs) continue;
    local::Close c{};
    c.channel = channel;
    own_link_.send_control(&c, sizeof c);
    nodes_.erase(channel);
    return true;
  }
  return false;
}

std::uint64_t HomeServer::tick(std::uint64_t now_us) {
  std::uint64_t next = 0;
  const auto no_later = [&](std::uint64_t at) {
    if (at != 0) next = next == 0 ? at : std::min(next, at);
  };
  for (auto it = objects_.begin(); it != objects_.end();) {
    HomeObject& o = *it->second;
    no_later(o.directory.tick(now_us));
    no_later(see_to_guests(o, now_us));
    for (const auto& c : clients_)
      if (c->waits_frozen == &o && o.directory.all_home()) {
        c->waits_frozen = nullptr;
        answer(*c, Reply{}, -1);
      }
    settle(o);
    const bool frozen = std::any_of(clients_.begin(), clients_.end(), [&](const auto& c) {
      return std::find(c->freezes.begin(), c->freezes.end(), &o) != c->freezes.end();
    });
    it = !o.watched && o.clients.empty() && !frozen && o.guests.empty() ? objects_.erase(it) : std::next(it);
  }
  for (const auto& c : clients_) {
    if (c->travel_again_us == 0) continue;
    if (now_us >= c->travel_again_us) {
      c->travel_again_us = 0;
      Request r;
      r.node = c->travels_to;
      Reply out;
      if (travel(*c, r, out))
        answer(*c, out, -1);
      else if (c->waits_for_node == 0)
        c->travel_again_us = now_us + kLookAgainUs;
    }
    no_later(c->travel_again_us);
  }
  while (close_unused(now_us)) {
  }
  if (!nodes_.empty()) no_later(now_us + kNodeIdleUs);
  if (!clients_.empty() || !nodes_.empty()) {
    idle_since_us_ = 0;
    return next;
  }
  if (idle_since_us_ == 0) idle_since_us_ = now_us;
  if (now_us >= idle_since_us_ + kIdleUs) ::_exit(0);
  no_later(idle_since_us_ + kIdleUs);
  return next;
}

}  // namespace

void serve_home(int cluster) {
  auto* const server = new HomeServer;
  server->serve(cluster);
}

}  // namespace hpcvmm::share
