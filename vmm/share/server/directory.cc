#include "vmm/share/server/directory.hh"

#include <algorithm>

namespace hpcvmm::share {

Have Directory::at_home(std::uint64_t page) const {
  const auto it = pages_.find(page);
  if (it == pages_.end()) return Have::Write;
  const Page& p = it->second;
  if (p.readers != 0) return Have::Read;
  return p.owner == 0 ? Have::Write : Have::Nothing;
}

bool Directory::all_home() const {
  return std::all_of(pages_.begin(), pages_.end(), [](const auto& entry) {
    const Page& p = entry.second;
    return p.readers == 0 && p.owner == 0 && !p.busy;
  });
}

void Directory::request(Party party, std::uint64_t page, bool write, std::uint64_t now_us) {
  Page& p = pages_[page];
  const bool again = std::any_of(p.queue.begin(), p.queue.end(),
                                 [&](const Request& r) { return r.party == party && (r.write || !write); });
  if (!again && !(p.busy && p.now.party == party && (p.now.write || !write)))
    p.queue.push_back({party, write});
  go(page, now_us);
}

void Directory::go(std::uint64_t number, std::uint64_t now_us) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  Page& p = it->second;
  while (!p.busy && !p.queue.empty()) {
    auto next = p.queue.begin();
    if (frozen_ != 0) {
      next = std::find_if(p.queue.begin(), p.queue.end(), [](const Request& r) { return r.party == 0; });
      if (next == p.queue.end()) return;
    }
    const bool home_has = p.readers != 0 || p.owner == 0;
    if (next->party != 0 && home_has && now_us < p.rests_until) {
      if (std::find(resting_.begin(), resting_.end(), number) == resting_.end()) resting_.push_back(number);
      return;
    }
    p.now = *next;
    p.queue.erase(next);
    serve(number, p, now_us);
  }
  if (is_plain(p) && now_us >= p.rests_until) {
    pages_.erase(number);
  } else if (is_plain(p) && std::find(resting_.begin(), resting_.end(), number) == resting_.end()) {
    resting_.push_back(number);
  }
}

void Directory::serve(std::uint64_t number, Page& p, std::uint64_t now_us) {
  const Party who = p.now.party;
  std::uint64_t ask = 0;
  bool all = true;
  if (p.readers != 0) {
    if (!p.now.write && (p.readers & bit(who)) != 0) return give(number, p, nullptr, now_us);
    if (p.now.write) ask = p.readers & ~(bit(0) | bit(who));
  } else if (p.owner == who) {
    return give(number, p, nullptr, now_us);
  } else if (p.owner != 0) {
    ask = bit(p.owner);
    all = p.now.write;
  }
  if (ask == 0) return finish(number, p, now_us);
  p.busy = true;
  p.has_content = p.gave_up = false;
  p.awaited = ask;
  p.serial = ++last_serial_ == 0 ? ++last_serial_ : last_serial_;
  for (Party q = 1; q < kMostParties; ++q)
    if ((ask & bit(q)) != 0) actions_.recall(q, number, all, p.serial);
}

void Directory::give_home(std::uint64_t number, Page& p, std::uint64_t now_us) {
  p.rests_until = now_us + kRestUs;
  actions_.here(number);
}

/// What `now` asked for is so already.
void Directory::give(std::uint64_t number, Page& p, const Content* content, std::uint64_t now_us) {
  if (p.now.party == 0) return give_home(number, p, now_us);
  actions_.grant(p.now.party, number, p.readers == 0, content);
}

/// Everybody who had to has answered.
void Directory::finish(std::uint64_t number, Page& p, std::uint64_t now_us) {
  const Party who = p.now.party;
  Content content;
  p.busy = false;
  if (p.readers != 0 || p.owner == 0) {
    // Home has the content.
    if (!p.now.write) {
      actions_.share(number, content);
      p.readers |= bit(0) | bit(who);
    } else {
      if (who != 0) actions_.take(number, content);
      p.readers = 0;
      p.owner = who;
    }
    if (who == 0) return give_home(number, p, now_us);
    // The content also for who had it to read: it may be giving that back at this moment.
    return actions_.grant(who, number, p.now.write, &content);
  }
  if (!p.has_content) {
    actions_.lost(number);
    p.content = std::make_unique<Content>();
    p.content->fill(std::byte{0});
  }
  p.has_content = false;
  const Party before = p.owner;
  if (!p.now.write) {
    actions_.put(number, *p.content, false);
    p.readers = bit(0) | (p.gave_up ? 0 : bit(before)) | bit(who);
    if (p.readers == bit(0)) p.readers = 0;
    p.owner = 0;
  } else {
    if (who == 0) actions_.put(number, *p.content, true);
    p.owner = who;
  }
  if (who == 0)
    give_home(number, p, now_us);
  else
    actions_.grant(who, number, p.now.write, p.content.get());
  p.content.reset();
}

void Directory::keep(Page& p, const Content* content) {
  if (content == nullptr) return;
  p.content = std::make_unique<Content>(*content);
  p.has_content = true;
}

void Directory::yielded(Party party, std::uint64_t page, std::uint32_t serial, const Content* content,
                        std::uint64_t now_us) {
  const auto it = pages_.find(page);
  if (it == pages_.end()) return;
  Page& p = it->second;
  if (serial == 0) {
    if (p.readers != 0) {
      p.readers &= ~bit(party);
      if (p.readers == bit(0)) p.readers = 0;
    } else if (p.owner == party && p.busy) {
      // Its answer to the question is on its way.  Without content: an older copy, to read only.
      keep(p, content);
      p.gave_up = p.gave_up || content != nullptr;
      return;
    } else if (p.owner == party && content != nullptr) {
      actions_.put(page, *content, true);
      p.owner = 0;
      actions_.here(page);
    }
    return go(page, now_us);
  }
  if (!p.busy || p.serial != serial || (p.awaited & bit(party)) == 0) return;
  keep(p, content);
  p.awaited &= ~bit(party);
  if (p.awaited != 0) return;
  finish(page, p, now_us);
  go(page, now_us);
}

void Directory::party_lost(Party party, std::uint64_t now_us) {
  std::vector<std::uint64_t> all;
  for (const auto& [number, p] : pages_) all.push_back(number);
  for (const std::uint64_t number : all) {
    Page& p = pages_[number];
    std::erase_if(p.queue, [&](const Request& r) { return r.party == party; });
    const bool waited = p.busy && (p.awaited & bit(party)) != 0;
    if (p.readers != 0 && party != 0) {
      p.readers &= ~bit(party);
      if (p.readers == bit(0) && !p.busy) p.readers = 0;
    } else if (p.owner == party && !waited) {
      actions_.lost(number);
      p.owner = 0;
    }
    if (waited) {
      p.gave_up = true;
      p.awaited &= ~bit(party);
      if (p.awaited == 0) finish(number, p, now_us);
    }
    go(number, now_us);
  }
}

void Directory::freeze(std::uint64_t now_us) {
  ++frozen_;
  std::vector<std::uint64_t> away;
  for (const auto& [number, p] : pages_)
    if (p.busy || p.readers != 0 || p.owner != 0) away.push_back(number);
  for (const std::uint64_t number : away) request(0, number, true, now_us);
}

void Directory::thaw(std::uint64_t now_us) {
  if (frozen_ == 0 || --frozen_ != 0) return;
  std::vector<std::uint64_t> all;
  for (const auto& [number, p] : pages_) all.push_back(number);
  for (const std::uint64_t number : all) go(number, now_us);
}

std::uint64_t Directory::tick(std::uint64_t now_us) {
  if (resting_.empty()) return 0;
  const std::vector<std::uint64_t> look = std::move(resting_);
  resting_.clear();
  std::uint64_t next = 0;
  for (const std::uint64_t number : look) {
    const auto it = pages_.find(number);
    if (it == pages_.end()) continue;
    if (now_us < it->second.rests_until) {
      const std::uint64_t at = it->second.rests_until;
      next = next == 0 ? at : std::min(next, at);
      resting_.push_back(number);
      continue;
    }
    go(number, now_us);
  }
  return next;
}

}  // namespace hpcvmm::share
