// Who has which page of one shared object: kept at home.
//
// One party (home is party 0, each other node with sharers one more) has a page alone and may write it, or
// several have it and only read it, home among them.  Source: Li and Hudak, Memory coherence in shared
// virtual memory systems, 1989: a central manager.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace hpcvmm::share {

using Party = std::uint32_t;
inline constexpr Party kMostParties = 64;
inline constexpr std::size_t kPageBytes = 4096;
using Content = std::array<std::byte, kPageBytes>;

enum class Have : std::uint8_t { Nothing, Read, Write };

/// What a directory has done.
class Actions {
 public:
  Actions() = default;
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  virtual ~Actions() = default;

  /// Party > 0 shall give `page` back, `all`: keep nothing; answered through Directory::yielded().
  virtual void recall(Party party, std::uint64_t page, bool all, std::uint32_t serial) = 0;
  /// Party > 0 gets it; nullptr: it has the content.
  virtual void grant(Party party, std::uint64_t page, bool write, const Content* content) = 0;
  /// Home may look again: what it has of `page` has become more.
  virtual void here(std::uint64_t page) = 0;
  /// Home keeps it to read and nobody can write it any more; its content.
  virtual void share(std::uint64_t page, Content& out) = 0;
  /// Home has it no more; its content.
  virtual void take(std::uint64_t page, Content& out) = 0;
  /// Home has it, to read only or to write.
  virtual void put(std::uint64_t page, const Content& content, bool write) = 0;
  /// The only copy is lost.
  virtual void lost(std::uint64_t page) = 0;
};

/// Pure bookkeeping.  Threads: one.
class Directory {
 public:
  explicit Directory(Actions& actions) : actions_(actions) {}

  [[nodiscard]] Have at_home(std::uint64_t page) const;
  /// True when home has every page alone and nobody waits for one.
  [[nodiscard]] bool all_home() const;
  /// Somebody wants a page; `now_us`: the clock of rests.
  void request(Party party, std::uint64_t page, bool write, std::uint64_t now_us);
  /// `content` nullptr: it had none (or a copy of home's); serial 0: it has not been asked.
  void yielded(Party party, std::uint64_t page, std::uint32_t serial, const Content* content,
               std::uint64_t now_us);
  /// The party has ended, and all it had.
  void party_lost(Party party, std::uint64_t now_us);
  /// Every page comes home, and while frozen nobody else gets one.
  void freeze(std::uint64_t now_us);
  void thaw(std::uint64_t now_us);
  /// Nobody watches the pages any more, all of which home has: what others still wait for is void.
  void forget_requests() {
    pages_.clear();
    resting_.clear();
  }
  /// While a page that home has waited for is new here, others wait for it, so that who waited gets on.
  /// Returns when to call again; 0: not before something else happens.
  std::uint64_t tick(std::uint64_t now_us);

  static constexpr std::uint64_t kRestUs = 300;

 private:
  struct Request {
    Party party;
    bool write;
  };
  struct Page {
    std::uint64_t readers = 0;  // 0: `owner` has it alone
    Party owner = 0;
    bool busy = false, has_content = false;
    bool gave_up = false;       // the owner, while it was asked: it keeps no copy
    Request now{};              // while busy
    std::uint64_t awaited = 0;  // parties whose answers are
    std::uint32_t serial = 0;
    std::uint64_t rests_until = 0;
    std::vector<Request> queue;
    std::unique_ptr<Content> content;
  };

  static std::uint64_t bit(Party p) { return std::uint64_t{1} << p; }
  void go(std::uint64_t number, std::uint64_t now_us);
  void serve(std::uint64_t number, Page& p, std::uint64_t now_us);
  void finish(std::uint64_t number, Page& p, std::uint64_t now_us);
  void give(std::uint64_t number, Page& p, const Content* content, std::uint64_t now_us);
  void give_home(std::uint64_t number, Page& p, std::uint64_t now_us);
  void keep(Page& p, const Content* content);
  static bool is_plain(const Page& p) { return p.readers == 0 && p.owner == 0 && !p.busy && p.queue.empty(); }

  Actions& actions_;
  std::unordered_map<std::uint64_t, Page> pages_;  // what is not in it home has alone
  std::vector<std::uint64_t> resting_;             // pages others wait for
  std::uint32_t frozen_ = 0;
  std::uint32_t last_serial_ = 0;
};

}  // namespace hpcvmm::share
