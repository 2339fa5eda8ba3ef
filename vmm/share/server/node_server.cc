// The server of a node that sharers have moved to: keeps what pages the node has, in memory of its own that
// all sharers here map, whoever of them comes and goes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "vmm/migrate/host.hh"
#include "vmm/share/server/server.hh"

namespace hpcvmm::share {
namespace {

constexpr std::uint32_t kChannel = 1;
constexpr std::uint64_t kRestUs = Directory::kRestUs;

struct NodeObject final : Object {
  struct Page {
    Have have = Have::Nothing;
    bool asked = false, asked_write = false;
    std::uint64_t since_us = 0;
  };
  std::unordered_map<std::uint64_t, Page> pages;
  std::uint64_t bytes = 0;
};

class NodeServer final : public Server {
 public:
  explicit NodeServer(migrate::Link& link) { link_ = &link; }
  [[noreturn]] void serve(const std::byte* data, std::size_t bytes);

 private:
  void on_fault(Sharer& c, const sharers::Fault& f) override;
  bool on_request(Sharer& c, const Request& r, UniqueFd fd, Reply& out, int& send) override;
  void on_note(std::uint32_t channel, const Note& n, const Content* content) override;
  void on_control() override;
  void on_gone(Sharer& c) override { static_cast<void>(c); }
  std::uint64_t tick(std::uint64_t now_us) override;

  NodeObject* object(std::uint32_t number);
  bool enlarge(NodeObject& o, std::uint64_t bytes);
  void want(NodeObject& o, std::uint64_t page, bool write);
  void on_grant(NodeObject& o, const Note& n, const Content* content);
  void give_back(const Note& recall);
  void flush(NodeObject& o);

  std::map<std::uint32_t, NodeObject> objects_;
  struct Late {
    std::uint64_t at_us;
    Note recall;
  };
  std::vector<Late> late_;  // recalls of pages that have only just come
};

void NodeServer::serve(const std::byte* data, std::size_t bytes) {
  Name name;
  if (bytes >= sizeof(Note) + sizeof name) std::memcpy(&name, data + sizeof(Note), sizeof name);
  name.text[sizeof name.text - 1] = 0;
  Note ready;
  ready.type = NoteType::Ready;
  ready.flags = name.text[0] != 0 && listen(name.text) ? 0 : kWrite;
  send(kChannel, ready, nullptr);
  run();
}

NodeObject* NodeServer::object(std::uint32_t number) {
  const auto it = objects_.find(number);
  return it == objects_.end() ? nullptr : &it->second;
}

bool NodeServer::enlarge(NodeObject& o, std::uint64_t bytes) {
  if (!o.fd) o.fd = UniqueFd(::memfd_create("hpc-vmm-shared", MFD_CLOEXEC));
  if (bytes > o.bytes && ::ftruncate(o.fd.get(), static_cast<off_t>(bytes)) != 0) return false;
  o.bytes = std::max(o.bytes, bytes);
  return static_cast<bool>(o.fd);
}

bool NodeServer::on_request(Sharer& c, const Request& r, UniqueFd fd, Reply& out, int& send) {
  static_cast<void>(fd);
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 46U;
  switch (r.ask) {
    case Ask::Hello: return true;
    case Ask::Get: {
      NodeObject& o = objects_[r.object];
      o.number = r.object;
      if (r.offset > kMostBytes || r.end < r.begin || r.end - r.begin > kMostBytes ||
          !enlarge(o, r.offset + (r.end - r.begin))) {
        out.code = ENOMEM;
        return true;
      }
      o.watched = true;
      send = o.fd.get();
      return true;
    }
    case Ask::Add: {
      NodeObject* const o = object(r.object);
      out.code = o == nullptr || r.begin >= r.end ? EINVAL : sharers::add(c, r.begin, {r.end, o, r.offset});
      return true;
    }
    case Ask::Remove: sharers::remove(c, r.begin, r.end); return true;
    default: out.code = EINVAL; return true;
  }
}

void NodeServer::want(NodeObject& o, std::uint64_t page, bool write) {
  NodeObject::Page& p = o.pages[page];
  if (p.asked && (p.asked_write || !write)) return;
  p.asked = true;
  p.asked_write = write;
  Note n;
  n.type = NoteType::Want;
  n.flags = write ? kWrite : 0;
  n.object = o.number;
  n.page = page;
  send(kChannel, n, nullptr);
}

void NodeServer::on_fault(Sharer& c, const sharers::Fault& f) {
  std::uint64_t page = 0;
  Object* const found = sharers::find(c, f.address, page);
  if (found == nullptr) return sharers::wake_one(c, f.address, false);
  auto& o = static_cast<NodeObject&>(*found);
  const Have have = o.pages[page].have;
  if (have == Have::Write) return sharers::wake_one(c, f.address, true);
  if (have == Have::Read && !f.is_protected) return sharers::wake_one(c, f.address, false);
  o.waiters[page].push_back({&c, f.address});
  want(o, page, f.write);
}

void NodeServer::on_grant(NodeObject& o, const Note& n, const Content* content) {
  NodeObject::Page& p = o.pages[n.page];
  const bool write = (n.flags & kWrite) != 0;
  if (content == nullptr && p.have == Have::Nothing) {
    // What it speaks of has been given back meanwhile.
    p.asked = false;
    if (o.waiters.contains(n.page)) want(o, n.page, write);
    return;
  }
  if (write || !p.asked_write) p.asked = p.asked_write = false;
  if (content != nullptr) sharers::put(o, n.page, *content, write);
  p.have = write ? Have::Write : Have::Read;
  p.since_us = migrate::now_us();
  sharers::wake(o, n.page, write);
}

void NodeServer::give_back(const Note& recall) {
  Note y = recall;
  y.type = NoteType::Yield;
  NodeObject* const o = object(recall.object);
  const auto it = o == nullptr ? decltype(o->pages.end()){} : o->pages.find(recall.page);
  if (o == nullptr || it == o->pages.end() || it->second.have == Have::Nothing)
    return send(kChannel, y, nullptr);
  const bool all = (recall.flags & kWrite) != 0;
  const bool had_alone = it->second.have == Have::Write;
  y.flags = 0;
  Content content;
  if (all && had_alone) {
    sharers::take(*o, recall.page, content);
  } else if (all) {
    sharers::drop(*o, recall.page);
  } else if (had_alone) {
    sharers::protect(*o, recall.page);
    sharers::read(*o, recall.page, content);
  }
  it->second.have = all ? Have::Nothing : Have::Read;
  if (all && !it->second.asked) o->pages.erase(it);
  send(kChannel, y, had_alone ? &content : nullptr);
}

void NodeServer::on_note(std::uint32_t channel, const Note& n, const Content* content) {
  static_cast<void>(channel);
  if (n.type == NoteType::Grant) {
    NodeObject& o = objects_[n.object];
    o.number = n.object;
    if (!enlarge(o, (n.page + 1) * kPageBytes)) ::_exit(1);
    return on_grant(o, n, content);
  }
  if (n.type != NoteType::Recall) return;
  if (NodeObject* const o = object(n.object)) {
    const auto it = o->pages.find(n.page);
    const std::uint64_t rests = it == o->pages.end() ? 0 : it->second.since_us + kRestUs;
    if (migrate::now_us() < rests && it->second.have != Have::Nothing && !o->clients.empty()) {
      late_.push_back({rests, n});
      return;
    }
  }
  give_back(n);
}

void NodeServer::on_control() {
  alignas(8) std::array<char, wire::local::kMaxMessage> room{};
  int fds[3] = {-1, -1, -1};
  const std::ptrdiff_t n = link_->receive_control(room.data(), fds, 0);
  wire::local::Header h{};
  if (n > 0) std::memcpy(&h, room.data(), sizeof h);
  if (n == 0 || (n > 0 && h.type == wire::local::Type::Closed)) ::_exit(0);
}

/// Nobody here maps it any more: everything goes home.
void NodeServer::flush(NodeObject& o) {
  for (auto& [page, p] : o.pages) {
    p.asked = p.asked_write = false;
    if (p.have == Have::Nothing) continue;
    Note y;
    y.type = NoteType::Yield;
    y.object = o.number;
    y.page = page;
    Content content;
    if (p.have == Have::Write)
      sharers::take(o, page, content);
    else
      sharers::drop(o, page);
    send(kChannel, y, p.have == Have::Write ? &content : nullptr);
  }
  o.pages.clear();
}

std::uint64_t NodeServer::tick(std::uint64_t now_us) {
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < late_.size();) {
    const NodeObject* const o = object(late_[i].recall.object);
    if (now_us < late_[i].at_us && o != nullptr && !o->clients.empty()) {
      next = next == 0 ? late_[i].at_us : std::min(next, late_[i].at_us);
      ++i;
      continue;
    }
    const Note recall = late_[i].recall;
    late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
    give_back(recall);
  }
  for (auto& [number, o] : objects_)
    if (o.clients.empty() && !o.pages.empty()) flush(o);
  return next;
}

}  // namespace

void serve_node(migrate::Link& link, const std::byte* serve, std::size_t bytes) {
  auto* const server = new NodeServer(link);
  server->serve(serve, bytes);
}

}  // namespace hpcvmm::share
