#include "vmm/share/server/directory.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace hpcvmm::share {
namespace {

Content filled(unsigned value) {
  Content c;
  c.fill(static_cast<std::byte>(value));
  return c;
}

struct Message {
  enum Kind : std::uint8_t { Recall, Grant, Want, Yield } kind;
  std::uint64_t page;
  bool flag;  // Recall: all; Grant, Want: write
  std::uint32_t serial;
  bool has_content;
  Content content;
};

struct Copy {
  Have have = Have::Nothing;
  Content content{};
};

/// A cluster in one process: home, nodes that do what node_server.cc does, and lines that keep order.
class Cluster final : public Actions {
 public:
  static constexpr Party kNodes = 3;
  static constexpr std::uint64_t kPages = 2;

  Cluster() : directory(*this) {
    for (std::uint64_t p = 0; p < kPages; ++p) at[0][p] = {Have::Write, filled(0)};
  }

  void recall(Party party, std::uint64_t page, bool all, std::uint32_t serial) override {
    to_node[party].push_back({Message::Recall, page, all, serial, false, {}});
  }
  void grant(Party party, std::uint64_t page, bool write, const Content* content) override {
    to_node[party].push_back(
        {Message::Grant, page, write, 0, content != nullptr, content != nullptr ? *content : Content{}});
  }
  void here(std::uint64_t page) override { home_news.push_back(page); }
  void share(std::uint64_t page, Content& out) override {
    EXPECT_NE(at[0][page].have, Have::Nothing);
    at[0][page].have = Have::Read;
    out = at[0][page].content;
  }
  void take(std::uint64_t page, Content& out) override {
    EXPECT_NE(at[0][page].have, Have::Nothing);
    out = at[0][page].content;
    at[0][page].have = Have::Nothing;
  }
  void put(std::uint64_t page, const Content& content, bool write) override {
    at[0][page] = {write ? Have::Write : Have::Read, content};
  }
  void lost(std::uint64_t page) override { lost_pages.push_back(page); }

  void want(Party who, std::uint64_t page, bool write) {
    if (who == 0)
      directory.request(0, page, write, now);
    else
      to_home[who].push_back({Message::Want, page, write, 0, false, {}});
  }
  void home_hears(Party from) {
    if (to_home[from].empty()) return;
    const Message m = to_home[from].front();
    to_home[from].pop_front();
    if (m.kind == Message::Want) return directory.request(from, m.page, m.flag, now);
    directory.yielded(from, m.page, m.serial, m.has_content ? &m.content : nullptr, now);
  }
  void node_hears(Party node) {
    if (to_node[node].empty()) return;
    const Message m = to_node[node].front();
    to_node[node].pop_front();
    Copy& c = at[node][m.page];
    if (m.kind == Message::Grant) {
      if (m.has_content) c.content = m.content;
      if (m.has_content || c.have != Have::Nothing) c.have = m.flag ? Have::Write : Have::Read;
      return;
    }
    const bool alone = c.have == Have::Write;
    to_home[node].push_back({Message::Yield, m.page, false, m.serial, alone, c.content});
    c.have = m.flag || c.have == Have::Nothing ? Have::Nothing : Have::Read;
  }
  void flush(Party node) {
    for (auto& [page, c] : at[node]) {
      if (c.have == Have::Nothing) continue;
      to_home[node].push_back({Message::Yield, page, false, 0, c.have == Have::Write, c.content});
      c.have = Have::Nothing;
    }
  }
  void settle() {
    for (unsigned i = 0; i < 10000; ++i) {
      now += Directory::kRestUs + 1;
      directory.tick(now);
      bool any = false;
      for (Party p = 1; p <= kNodes; ++p) {
        any = any || !to_home[p].empty() || !to_node[p].empty();
        home_hears(p);
        node_hears(p);
      }
      if (!any && directory.tick(now) == 0) return;
    }
    FAIL() << "it never settles";
  }
  /// One may write, or several may read the same.
  void check() {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      unsigned writers = 0;
      unsigned readers = 0;
      for (Party p = 0; p <= kNodes; ++p) {
        writers += at[p][page].have == Have::Write ? 1 : 0;
        readers += at[p][page].have == Have::Read ? 1 : 0;
      }
      ASSERT_LE(writers, 1U);
      if (writers == 1) {
        ASSERT_EQ(readers, 0U) << "page " << page;
      }
    }
  }

  Directory directory;
  std::map<Party, std::map<std::uint64_t, Copy>> at;
  std::map<Party, std::deque<Message>> to_home, to_node;
  std::vector<std::uint64_t> home_news, lost_pages;
  std::uint64_t now = 1'000'000;
};

TEST(Directory, WriterGetsThePageAlone) {
  Cluster c;
  c.at[0][1].content = filled(7);
  c.want(1, 1, true);
  c.settle();
  EXPECT_EQ(c.at[1][1].have, Have::Write);
  EXPECT_EQ(c.at[1][1].content, filled(7));
  EXPECT_EQ(c.directory.at_home(1), Have::Nothing);
  EXPECT_FALSE(c.directory.all_home());
}

TEST(Directory, ReadersShareAndAWriterEndsThat) {
  Cluster c;
  for (Party p = 1; p <= 3; ++p) c.want(p, 0, false);
  c.settle();
  for (Party p = 0; p <= 3; ++p) EXPECT_EQ(c.at[p][0].have, Have::Read);
  c.want(2, 0, true);
  c.settle();
  EXPECT_EQ(c.at[2][0].have, Have::Write);
  for (const Party p : {0U, 1U, 3U}) EXPECT_EQ(c.at[p][0].have, Have::Nothing);
}

TEST(Directory, AnUpgradeSurvivesACopyGivenBack) {
  Cluster c;
  c.at[0][0].content = filled(9);
  c.want(1, 0, false);
  c.settle();
  c.want(1, 0, true);
  c.flush(1);  // the copy, before the answer
  c.settle();
  c.flush(1);  // and what has come
  c.settle();
  c.want(0, 0, true);
  c.settle();
  EXPECT_TRUE(c.lost_pages.empty());
  EXPECT_EQ(c.at[0][0].content, filled(9));
}

TEST(Directory, FrozenItIsAtHomeUntilThawed) {
  Cluster c;
  c.want(1, 0, true);
  c.settle();
  c.at[1][0].content = filled(3);
  c.directory.freeze(c.now);
  c.want(2, 0, true);
  c.settle();
  EXPECT_TRUE(c.directory.all_home());
  EXPECT_EQ(c.at[0][0].content, filled(3));
  c.directory.thaw(c.now);
  c.settle();
  EXPECT_EQ(c.at[2][0].have, Have::Write);
  EXPECT_EQ(c.at[2][0].content, filled(3));
}

TEST(Directory, WhatWasWaitedForWhileFrozenIsVoidOnceForgotten) {
  Cluster c;
  c.want(1, 0, true);
  c.settle();
  c.directory.freeze(c.now);
  c.want(1, 0, true);
  c.want(2, 0, true);
  c.settle();
  ASSERT_TRUE(c.directory.all_home());
  c.directory.forget_requests();
  c.directory.thaw(c.now);
  c.settle();
  EXPECT_TRUE(c.directory.all_home());
  EXPECT_EQ(c.at[0][0].have, Have::Write);
}

TEST(Directory, WhatHomeWaitedForRests) {
  Cluster c;
  c.want(1, 0, true);
  c.settle();
  c.want(0, 0, true);
  while (c.at[0][0].have != Have::Write) {
    c.node_hears(1);
    c.home_hears(1);
  }
  c.directory.request(1, 0, true, c.now);
  EXPECT_EQ(c.at[0][0].have, Have::Write);
  c.now += Directory::kRestUs;
  c.directory.tick(c.now);
  EXPECT_EQ(c.at[0][0].have, Have::Nothing);
}

TEST(Directory, TheOnlyCopyIsLostWithItsNode) {
  Cluster c;
  c.want(1, 0, true);
  c.want(2, 1, false);
  c.settle();
  c.directory.party_lost(2, c.now);
  EXPECT_TRUE(c.lost_pages.empty());
  c.directory.party_lost(1, c.now);
  EXPECT_EQ(c.lost_pages, std::vector<std::uint64_t>{0});
}

// Every party writes, one after the other, what it has read and one: no step may be lost, whatever the order
// of messages between the lines.
TEST(Directory, NoWriteIsLostInAnyOrder) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    Cluster c;
    std::map<std::uint64_t, unsigned> written;
    for (unsigned step = 0; step < 600; ++step) {
      const auto who = static_cast<Party>(random() % (Cluster::kNodes + 1));
      const std::uint64_t page = random() % Cluster::kPages;
      c.now += random() % 200;
      switch (random() % 8) {
        case 0:
        case 1: c.want(who, page, random() % 2 == 0); break;
        case 2: c.directory.tick(c.now); break;
        case 3:
          if (who != 0 && random() % 8 == 0) c.flush(who);
          break;
        case 4:
          if (c.at[who][page].have == Have::Write) {
            Content& content = c.at[who][page].content;
            content[0] = static_cast<std::byte>(static_cast<unsigned>(content[0]) + 1);
            ++written[page];
          }
          break;
        case 5:
        case 6: c.home_hears(1 + static_cast<Party>(random() % Cluster::kNodes)); break;
        default: c.node_hears(1 + static_cast<Party>(random() % Cluster::kNodes)); break;
      }
      // Home's part of the state, as the server sees it.
      for (std::uint64_t p = 0; p < Cluster::kPages; ++p)
        if (c.directory.at_home(p) == Have::Write) c.at[0][p].have = Have::Write;
      ASSERT_NO_FATAL_FAILURE(c.check()) << "seed " << seed << " step " << step;
    }
    for (Party p = 1; p <= Cluster::kNodes; ++p) c.flush(p);
    c.settle();
    for (std::uint64_t p = 0; p < Cluster::kPages; ++p) c.want(0, p, true);
    c.settle();
    ASSERT_TRUE(c.lost_pages.empty()) << "seed " << seed;
    ASSERT_TRUE(c.directory.all_home()) << "seed " << seed;
    for (std::uint64_t p = 0; p < Cluster::kPages; ++p)
      ASSERT_EQ(static_cast<unsigned>(c.at[0][p].content[0]), written[p] % 256)
          << "seed " << seed << " page " << p;
  }
}

}  // namespace
}  // namespace hpcvmm::share
