// Names and files that are looked up where a process runs: names::Source for what others know of this node,
// names::Store for what this node knows of others.
#include <sys/epoll.h>

#include "daemon/hpcd.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;

Status Hpcd::start_names() {
  HPCVMM_CHECK_OK(names_.open());
  HPCVMM_TRY(names_changes_watch_,
             poller_.add(names_.changes_fd(), EPOLLIN, [this](std::uint32_t) { names_.read_changes(); }));
  HPCVMM_TRY(names_news_watch_,
             poller_.add(names_.news_fd(), EPOLLIN, [this](std::uint32_t) { names_.collect(); }));
  return Unit{};
}

/// False: nobody is told any more.
bool Hpcd::tell_names(const names::Source::Reader& reader, const names::Bytes& batch) {
  constexpr std::uint64_t kUnusedMs = 60'000;
  std::uint64_t& used = names_used_ms_[reader.node];
  if (relay_.busy_with(reader.node)) used = now_ms_;
  // For a while the next one finds there what the last one has left.  Afterwards it is not taken back any
  // more, and whoever comes will find it too old.
  if (!outbox_.connected(reader.node) || now_ms_ - used > kUnusedMs) return false;
  peer::NamesFacts head;
  head.user = reader.user;
  head.header.bytes = static_cast<std::uint32_t>(sizeof head + batch.size());
  names::Bytes message;
  message.reserve(head.header.bytes);
  names::put(message, &head, sizeof head);
  names::put(message, batch.data(), batch.size());
  return outbox_.send_bytes(reader.node, message);
}

void Hpcd::give_names_to_deputy(Session& s) {
  Result<UniqueFd> bell = names_.make_bell();
  if (!bell)
    return log::warning("no bell of names for a process", {{"pid", s.pid}, {"why", bell.error().op}});
  const local::NamesHome home;
  const int both[] = {names_.page_fd(), bell->get()};
  sessions_.send(s, std::as_bytes(std::span(&home, 1)), both);
}

/// One of the users of that home; nullptr: no memory.
names::Store* Hpcd::store_of(Node home, std::uint32_t user) {
  std::unique_ptr<names::Store>& store = stores_[{home, user}];
  if (store != nullptr) return store.get();
  auto made = std::make_unique<names::Store>();
  if (const Status s = made->open(); !s) {
    log::warning("no store of names", {{"home", home}, {"why", s.error().op}});
    return nullptr;
  }
  store = std::move(made);
  return store.get();
}

void Hpcd::give_names_to_remote(const Remote& r) {
  Session* const s = sessions_.find(r.session);
  const names::Store* const store = s == nullptr ? nullptr : store_of(r.home, r.uid);
  if (store == nullptr) return;
  const local::NamesStore message;
  const int fd = store->fd();
  sessions_.send(*s, std::as_bytes(std::span(&message, 1)), std::span(&fd, 1));
}

void Hpcd::on_names_ask(const Session& s, const local::NamesAsk& m) {
  const auto found = remotes_.all().find(s.id);
  if (found == remotes_.all().end()) return;
  peer::NamesAsk ask;
  ask.user = found->second.uid;
  std::copy(std::begin(m.path), std::end(m.path), std::begin(ask.path));
  outbox_.send(found->second.home, ask);
}

void Hpcd::on_names_hold(Session& s, const local::NamesHold& m) {
  const int fd = names_.file_of(m.id, s.uid);
  sessions_.send(s, std::as_bytes(std::span(&m, 1)), std::span(&fd, fd >= 0 ? 1 : 0));
}

void Hpcd::on_names(Node from, const peer::NamesMessage& m) {
  names::Store* const store = store_of(from, m.head.user);
  if (store != nullptr && store->take(m.batch)) return;
  peer::NamesReset reset;
  reset.user = m.head.user;
  outbox_.send(from, reset);
}

/// Changes there would not be heard of.
void Hpcd::forget_names_of(Node node) {
  names_.lose(node);
  // Who has it mapped finds it too old from now on.
  std::erase_if(stores_, [node](const auto& s) { return s.first.first == node; });
}

}  // namespace hpcvmm::daemon
