// Goal: the promises of transport.hh about messages, in the simulated network.
#include "net/transport/transport.hh"

#include "net/transport/sim_cluster.hh"

namespace hpcvmm::net {
namespace {

struct Two {
  explicit Two(std::uint64_t seed, const Config& config = {}) : cluster(seed) {
    cluster.add(1, config);
    cluster.add(2, config);
    cluster.connect_all();
  }
  SimNode& a() { return *cluster.nodes()[0]; }
  SimNode& b() { return *cluster.nodes()[1]; }
  SimCluster cluster;
};

TEST(Transport, RefusesWhatMakesNoSense) {
  SimNetwork net(1);
  const auto driver = net.attach(SimNode::address_of(1));
  SimNode handler(net, 9, [] {
    Config c;
    c.key = test_key();
    return c;
  }());
  const auto code = [&](const std::function<void(Config&)>& change) {
    Config c;
    c.node = 1;
    c.key = test_key();
    change(c);
    const auto made = Transport::create(c, *driver, driver->clock(), handler);
    return made ? 0 : made.error().code;
  };
  EXPECT_EQ(code([](Config&) {}), 0);
  EXPECT_EQ(code([](Config& c) { c.node = 0; }), EINVAL);
  EXPECT_EQ(code([](Config& c) { c.key = {}; }), EINVAL);
  EXPECT_EQ(code([](Config& c) { c.tuning.base_payload = 100; }), EINVAL);
  EXPECT_EQ(code([](Config& c) { c.tuning.max_payload = 60000; }), EINVAL);
  EXPECT_EQ(code([](Config& c) { c.tuning.window_bytes[0] = 1000; }), EINVAL);
  EXPECT_EQ(code([](Config& c) { c.tuning.connect_last = 1; }), EINVAL);

  Transport& t = handler.transport();
  const std::byte one{};
  EXPECT_EQ(t.add_peer(0, SimNode::address_of(2)).error().code, EINVAL);
  EXPECT_EQ(t.add_peer(9, SimNode::address_of(2)).error().code, EINVAL);
  EXPECT_EQ(t.remove_peer(2).error().code, ENOENT);
  EXPECT_EQ(t.send(2, 1, Priority::Bulk, Part(&one, 1)).error().code, ENOENT);
  ASSERT_TRUE(t.add_peer(2, SimNode::address_of(2)));
  EXPECT_EQ(t.send(2, 1, Priority::Bulk, Part(&one, 1)).error().code, ENOTCONN);
  EXPECT_EQ(t.room(2, Priority::Bulk), 0U);
  EXPECT_FALSE(t.peer_stats(3));
  EXPECT_FALSE(t.peer_stats(2)->up);
}

TEST(Transport, MessagesOfEverySize) {
  Two two(1);
  ASSERT_TRUE(two.cluster.run_until_up());
  std::vector<std::uint32_t> sizes;
  for (std::uint32_t n = 0; n < 300; ++n) sizes.push_back(n);
  for (const std::uint32_t edge : {1100U, 1150U, 1200U, 4096U, 8900U, 8972U, 65535U, 65536U, kMaxMessage}) {
    for (std::uint32_t n = edge - 20; n <= std::min(edge + 20, kMaxMessage); ++n) sizes.push_back(n);
  }
  std::size_t next = 0;
  std::size_t seen = 0;
  two.b().raw = [&](const Message& m) {
    EXPECT_EQ(m.bytes.size(), sizes[seen]);
    EXPECT_EQ(m.channel, 99U);
    for (std::size_t i = 0; i < m.bytes.size(); i += 97)
      EXPECT_EQ(m.bytes[i], static_cast<std::byte>(i % 251));
    ++seen;
    two.b().transport().flush();  // allowed from within
  };
  std::vector<std::byte> m(kMaxMessage);
  for (std::size_t i = 0; i < m.size(); ++i) m[i] = static_cast<std::byte>(i % 251);
  const bool all = two.cluster.run(
      20 * kSecond, [&] { return seen == sizes.size(); },
      [&] {
        while (next < sizes.size() &&
               two.a().transport().send(2, 99, Priority::Bulk, Part(m.data(), sizes[next]))) {
          ++next;
        }
      });
  EXPECT_TRUE(all) << seen << " of " << sizes.size();
  two.cluster.run(kSecond);
  expect_no_leak(two.a());
  expect_no_leak(two.b());
}

TEST(Transport, PartsAreJoined) {
  Two two(2);
  ASSERT_TRUE(two.cluster.run_until_up());
  const std::string text = "scatter and gather";
  std::string got;
  two.b().raw = [&](const Message& m) {
    got.assign(reinterpret_cast<const char*>(m.bytes.data()), m.bytes.size());
  };
  const Part whole = std::as_bytes(std::span(text));
  const std::array<Part, 4> parts{whole.first(3), whole.subspan(3, 0), whole.subspan(3, 8),
                                  whole.subspan(11)};
  ASSERT_TRUE(two.a().transport().send(2, 1, Priority::Control, parts));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] { return got == text; }));
  got.clear();
  ASSERT_TRUE(two.a().transport().send_borrowed(2, 1, Priority::Control, parts, 77));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] { return got == text && two.a().released.size() == 1; }));
  EXPECT_EQ(two.a().released.at(0), 77U);
}

TEST(Transport, BorrowedMemoryComesBackOnceHoweverItEnds) {
  Two two(3);
  SimLink bad;
  bad.loss = 0.1;
  two.cluster.net.set_links(bad);
  ASSERT_TRUE(two.cluster.run_until_up(10 * kSecond));
  two.b().raw = [](const Message&) {};
  const std::vector<std::byte> page(70000);
  const Part part(page);
  std::uint64_t token = 0;
  for (; token < 60; ++token)
    ASSERT_TRUE(two.a().transport().send_borrowed(2, 1, Priority::Bulk, {&part, 1}, token));
  ASSERT_TRUE(two.cluster.run(20 * kSecond, [&] { return two.a().released.size() > 20; }));
  two.cluster.net.cut(two.a().driver().local(), two.b().driver().local());
  ASSERT_TRUE(two.cluster.run(20 * kSecond, [&] { return !two.a().up(2); }));
  ASSERT_EQ(two.a().released.size(), 60U);
  std::sort(two.a().released.begin(), two.a().released.end());
  for (token = 0; token < 60; ++token) EXPECT_EQ(two.a().released[token], token);
  expect_no_leak(two.a());
}

TEST(Transport, FullQueueSaysAgainAndThenWritable) {
  Two two(4);
  ASSERT_TRUE(two.cluster.run_until_up());
  int sent = 0;
  while (two.a().send(2, Priority::Bulk, 65536)) ++sent;
  EXPECT_GT(sent, 100);
  EXPECT_LT(two.a().transport().room(2, Priority::Bulk), 65536U);
  EXPECT_GT(two.a().transport().room(2, Priority::Fault), 65536U)
      << "another priority has a queue of its own";
  EXPECT_EQ(two.a().writable, 0);
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] { return two.a().writable == 1; }));
  EXPECT_TRUE(two.a().send(2, Priority::Bulk, 65536));
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] {
    return two.b().received(1, Priority::Bulk) == static_cast<std::uint64_t>(sent) + 1;
  }));
  EXPECT_EQ(two.a().writable, 1);
}

TEST(Transport, LaterHoldsUpOneStreamAndBoundsWhatIsKept) {
  Two two(5);
  ASSERT_TRUE(two.cluster.run_until_up());
  bool full = true;
  two.b().take = [&](const Message& m) {
    return full && m.priority == Priority::Bulk ? Take::Later : Take::Done;
  };
  const auto feed = [&] {
    while (two.a().send(2, Priority::Bulk, 60000)) {
    }
    if (two.a().sent(2, Priority::Fault) < 100) two.a().send(2, Priority::Fault, 4096);
  };
  two.cluster.run(3 * kSecond, {}, feed);
  EXPECT_EQ(two.b().received(1, Priority::Fault), 100U);
  EXPECT_EQ(two.b().received(1, Priority::Bulk), 0U);
  const std::uint64_t held = two.b().transport().stats().assemblies_live;
  EXPECT_GT(held, 10U);
  EXPECT_LE(held * 60000, Tuning{}.window_bytes[2]) << "more than the window";
  EXPECT_GT(two.a().transport().peer_stats(2)->window_stalls, 0U);
  full = false;
  two.b().transport().resume(1, Priority::Bulk);
  const std::uint64_t sent = two.a().sent(2, Priority::Bulk);
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] { return two.b().received(1, Priority::Bulk) >= sent; }));
}

TEST(Transport, LostWindowNewsIsAskedFor) {
  // The window opens while nothing gets through; the sender must not wait for ever.
  Two two(6);
  two.a().transport().set_interest(2, false);
  ASSERT_TRUE(two.cluster.run_until_up());
  bool full = true;
  two.b().take = [&](const Message&) { return full ? Take::Later : Take::Done; };
  while (two.a().send(2, Priority::Bulk, 60000)) {
  }
  two.cluster.run(300 * kMillisecond);
  for (int i = 0; i < 60; ++i) {
    two.a().send(2, Priority::Bulk, 60000);
    two.cluster.run(kMillisecond);
  }
  two.cluster.net.cut(two.a().driver().local(), two.b().driver().local());
  full = false;
  two.b().transport().resume(1, Priority::Bulk);
  two.cluster.run(200 * kMillisecond);
  two.cluster.net.heal_all();
  const std::uint64_t sent = two.a().sent(2, Priority::Bulk);
  EXPECT_TRUE(
      two.cluster.run(500 * kMillisecond, [&] { return two.b().received(1, Priority::Bulk) == sent; }));
  EXPECT_TRUE(two.a().downs.empty());
}

TEST(Transport, LentMemoryIsFilled) {
  Two two(7);
  SimLink bad;
  bad.loss = 0.03;
  bad.reorder = 0.05;
  two.cluster.net.set_links(bad);
  two.b().lend = true;
  ASSERT_TRUE(two.cluster.run_until_up(10 * kSecond));
  EXPECT_TRUE(two.cluster.run(
      30 * kSecond, [&] { return two.b().received(1, Priority::Bulk) == 200; },
      [&] {
        if (two.a().sent(2, Priority::Bulk) < 200) two.a().send(2, Priority::Bulk, 73000);
      }));
  // A place that is out when the peer goes is given back.
  two.a().send(2, Priority::Bulk, 200000);
  two.cluster.run(3 * kSecond, [&] { return two.b().transport().stats().assemblies_live != 0; });
  ASSERT_TRUE(two.b().transport().remove_peer(1));
  EXPECT_EQ(two.b().abandoned, 1);
  expect_no_leak(two.b());
}

TEST(Transport, FaultOvertakesBulk) {
  // 1 Gbit/s, the bulk queue always full: 4 KiB pages asked for one after the other.
  Two two(8);
  SimLink link;
  link.bits_per_second = 1'000'000'000;
  link.delay = 20 * kMicrosecond;
  link.queue = 20 * kMillisecond;
  two.cluster.net.set_links(link);
  ASSERT_TRUE(two.cluster.run_until_up());
  std::vector<Nanos> faults;
  two.b().on_latency = [&](Priority p, Nanos t) {
    if (p == Priority::Fault) faults.push_back(t);
  };
  std::uint64_t bulk_before = 0;
  const Nanos begin = two.cluster.net.now();
  two.cluster.run(2 * kSecond, {}, [&] {
    while (two.a().send(2, Priority::Bulk, 65536)) {
    }
    // The next is asked for when the one before is there.
    if (two.a().sent(2, Priority::Fault) == faults.size()) two.a().send(2, Priority::Fault, 4112);
    if (two.cluster.net.now() < begin + kSecond) bulk_before = two.b().received(1, Priority::Bulk);
  });
  ASSERT_GT(faults.size(), 500U);
  std::sort(faults.begin(), faults.end());
  const Nanos median = faults[faults.size() / 2];
  const Nanos p99 = faults[faults.size() * 99 / 100];
  const double bulk_bits = static_cast<double>(two.b().received(1, Priority::Bulk) - bulk_before) * 65536 * 8;
  std::printf("faults under bulk: median %lu us, p99 %lu us; bulk %.2f Gbit/s beside %.2f of faults\n",
              static_cast<unsigned long>(median / kMicrosecond),
              static_cast<unsigned long>(p99 / kMicrosecond), bulk_bits / 1e9,
              static_cast<double>(faults.size()) * 4112 * 8 / 2e9);
  // Bulk queued in the sender is 8 MiB, 67 ms; a page takes 33 us on the line.
  EXPECT_LT(median, kMillisecond);
  EXPECT_LT(p99, 3 * kMillisecond);
  EXPECT_GT(bulk_bits, 0.8e9) << "and the line is used";
}

double throughput(std::uint64_t bits_per_second, Nanos delay, double loss, Protection protection) {
  Config config;
  config.protection = protection;
  Two two(9, config);
  SimLink link;
  link.bits_per_second = bits_per_second;
  link.delay = delay;
  link.loss = loss;
  link.reorder = loss;
  two.cluster.net.set_links(link);
  EXPECT_TRUE(two.cluster.run_until_up(10 * kSecond));
  const auto feed = [&] {
    while (two.a().send(2, Priority::Bulk, 16 * 4112)) {
    }
  };
  const Nanos time = bits_per_second >= 10'000'000'000 ? 30 * kMillisecond : 200 * kMillisecond;
  two.cluster.run(100 * kMillisecond, {}, feed);
  const std::uint64_t before = two.b().received(1, Priority::Bulk);
  two.cluster.run(time, {}, feed);
  const double bits = static_cast<double>(two.b().received(1, Priority::Bulk) - before) * 16 * 4112 * 8;
  return bits / (static_cast<double>(time) / 1e9);
}

TEST(Transport, FillsTheLine) {
  EXPECT_GT(throughput(1'000'000'000, 50 * kMicrosecond, 0, Protection::Auto), 0.9e9);
  EXPECT_GT(throughput(40'000'000'000, 10 * kMicrosecond, 0, Protection::Auto), 36e9);
  EXPECT_GT(throughput(10'000'000'000, 2 * kMillisecond, 0, Protection::Auto), 8e9) << "a long way";
  EXPECT_GT(throughput(10'000'000'000, 20 * kMicrosecond, 0.01, Protection::Auto), 7e9)
      << "1 % loss and reordering";
}

TEST(Transport, RekeysUnderLoad) {
  Config config;
  config.tuning.rekey_packets = 300;
  Two two(10, config);
  SimLink bad;
  bad.loss = 0.02;
  bad.reorder = 0.02;
  bad.duplicate = 0.02;
  two.cluster.net.set_links(bad);
  ASSERT_TRUE(two.cluster.run_until_up(10 * kSecond));
  EXPECT_TRUE(two.cluster.run(
      60 * kSecond, [&] { return two.b().received(1, Priority::Bulk) == 5000; },
      [&] {
        while (two.a().sent(2, Priority::Bulk) < 5000 && two.a().send(2, Priority::Bulk, 4112)) {
        }
      }));
  EXPECT_GT(two.a().transport().peer_stats(2)->rekeys, 5U);
  EXPECT_EQ(two.a().transport().peer_stats(2)->rekeys, two.b().transport().peer_stats(1)->rekeys);
  EXPECT_TRUE(two.a().downs.empty());
}

TEST(Transport, FindsThePathsLength) {
  for (const std::uint32_t mtu : {0U, 1472U, 3470U, 1200U}) {
    SCOPED_TRACE(mtu);
    Two two(11);
    SimLink link;
    link.mtu = mtu;
    two.cluster.net.set_links(link);
    ASSERT_TRUE(two.cluster.run_until_up());
    two.cluster.run(kSecond);
    EXPECT_EQ(two.a().transport().peer_stats(2)->payload, mtu == 0 ? 8972 : mtu);
    // A path that gets shorter is noticed.
    link.mtu = 1250;
    two.cluster.net.set_links(link);
    EXPECT_TRUE(two.cluster.run(
        5 * kSecond, [&] { return two.b().received(1, Priority::Bulk) == 50; },
        [&] {
          if (two.a().sent(2, Priority::Bulk) < 50) two.a().send(2, Priority::Bulk, 60000);
        }));
    EXPECT_TRUE(two.a().downs.empty());
  }
}

}  // namespace
}  // namespace hpcvmm::net
