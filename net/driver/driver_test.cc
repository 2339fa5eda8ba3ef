// Goal: addresses and fault specifications read as written; the UDP driver keeps driver.hh's promises on
// loopback; the waiter sleeps and wakes; the faulty driver does what its text says.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <unordered_set>

#include "net/driver/faulty/faulty.hh"
#include "net/driver/udp/udp.hh"
#include "net/driver/waiter.hh"

namespace hpcvmm::net {
namespace {

TEST(Address, TextAndBack) {
  for (const char* text :
       {"10.0.0.1:7000", "0.0.0.0:0", "255.255.255.255:65535", "[fd00::1]:7000", "[::1]:1"}) {
    const auto a = Address::parse(text);
    ASSERT_TRUE(a) << text;
    EXPECT_EQ(a->text(), text);
  }
  EXPECT_EQ(Address::parse("10.0.0.1", 77)->text(), "10.0.0.1:77");
  EXPECT_EQ(Address::parse("fd00::1", 77)->text(), "[fd00::1]:77");
  EXPECT_EQ(Address::parse("[fd00::1]", 77)->text(), "[fd00::1]:77");
  for (const char* text : {"", "host", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0:1",
                           "[10.0.0.1]:1", "[fd00::1", "[fd00::1]1", "10.0.0.1:7 ", "fd00::g"}) {
    EXPECT_FALSE(Address::parse(text)) << text;
  }
  const auto v4 = *Address::parse("10.1.2.3:9");
  EXPECT_TRUE(v4.is_v4());
  EXPECT_EQ(v4.v4(), 0x0a010203U);
  std::unordered_set<Address> set;
  for (std::uint32_t i = 0; i < 1000; ++i) set.insert(Address::from_v4(0x0a000000U + i, 7000));
  EXPECT_EQ(set.size(), 1000U);
}

TEST(Faults, TextIsUnderstoodOrRefusedByName) {
  Faults f;
  std::string problem;
  ASSERT_TRUE(Faults::parse(
      "loss=1%,dup=0.5%,reorder=0.02,corrupt=0,delay=200us,jitter=1ms,seed=7,cut=10.0.0.2", f, problem));
  EXPECT_DOUBLE_EQ(f.loss, 0.01);
  EXPECT_DOUBLE_EQ(f.duplicate, 0.005);
  EXPECT_DOUBLE_EQ(f.reorder, 0.02);
  EXPECT_EQ(f.delay, 200 * kMicrosecond);
  EXPECT_EQ(f.jitter, kMillisecond);
  EXPECT_EQ(f.seed, 7U);
  ASSERT_EQ(f.cut.size(), 1U);
  EXPECT_FALSE(f.cut_all);
  ASSERT_TRUE(Faults::parse("", f, problem));
  EXPECT_FALSE(f.any());
  ASSERT_TRUE(Faults::parse("cut", f, problem));
  EXPECT_TRUE(f.cut_all);
  for (const char* text : {"loss", "loss=", "loss=2", "loss=101%", "loss=-1%", "loss=1x", "delay=5",
                           "delay=1h", "seed=x", "cut=host", "frob=1", "loss=1%;dup=1%"}) {
    problem.clear();
    EXPECT_FALSE(Faults::parse(text, f, problem)) << text;
    EXPECT_NE(problem.find(text), std::string::npos) << problem;
  }
}

std::unique_ptr<UdpDriver> udp(std::uint32_t buffers = 1024) {
  UdpConfig config;
  config.bind = *Address::parse("127.0.0.1:0");
  config.max_payload = 9000;
  config.buffers = buffers;
  auto made = UdpDriver::create(config);
  EXPECT_TRUE(made);
  return *std::move(made);
}

bool send_text(Driver& from, const Address& to, std::string_view text) {
  TxPacket p;
  if (from.alloc({&p, 1}) != 1) return false;
  std::memcpy(p.data, text.data(), text.size());
  p.bytes = static_cast<std::uint32_t>(text.size());
  return from.send(to, {&p, 1}) == 1;
}

std::string receive_text(Driver& at) {
  RxPacket p;
  if (at.receive({&p, 1}) != 1) return "";
  std::string text(reinterpret_cast<const char*>(p.data), p.bytes);
  at.release({&p, 1});
  return text;
}

TEST(Udp, DatagramsOfEverySizeWithTheirSender) {
  const auto a = udp();
  const auto b = udp();
  for (const std::uint32_t size : {1U, 100U, 1472U, 9000U}) {
    const std::string text(size, 'x');
    ASSERT_TRUE(send_text(*a, b->local(), text));
    RxPacket p;
    ASSERT_EQ(b->receive({&p, 1}), 1U);
    EXPECT_EQ(p.bytes, size);
    EXPECT_EQ(p.from, a->local());
    b->release({&p, 1});
  }
  EXPECT_EQ(b->receive({}), 0U);
  EXPECT_EQ(b->counters().rx_packets, 4U);
  EXPECT_EQ(a->counters().tx_packets, 4U);
}

TEST(Udp, BuffersRunOutAndComeBack) {
  const auto a = udp(200);
  std::vector<TxPacket> held;
  std::array<TxPacket, kMaxBurst> burst;
  for (std::size_t n = 1; n != 0;) {
    n = a->alloc(burst);
    held.insert(held.end(), burst.begin(), burst.begin() + static_cast<std::ptrdiff_t>(n));
  }
  EXPECT_GE(held.size(), 100U);
  EXPECT_LT(held.size(), 200U) << "none is left to receive with";
  EXPECT_GT(a->counters().tx_busy, 0U);
  for (TxPacket& p : held) a->free({&p, 1});
  EXPECT_EQ(a->alloc(burst), burst.size());
  a->free(burst);
}

TEST(Udp, WhatCannotBeSentIsLostAndCounted) {
  const auto a = udp();
  ASSERT_TRUE(send_text(*a, *Address::parse("[fd00::1]:7"), "an IPv6 address on an IPv4 socket"));
  EXPECT_EQ(a->counters().tx_errors, 1U);
  UdpConfig taken;
  taken.bind = a->local();
  const auto second = UdpDriver::create(taken);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
}

TEST(Waiter, SleepsAndWakes) {
  const auto a = udp();
  const auto b = udp();
  const SystemClock clock;
  auto waiter = Waiter::create(*b, clock);
  ASSERT_TRUE(waiter);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(waiter->add(event.get(), 42));
  const Nanos begin = clock.now();
  EXPECT_TRUE(waiter->block(begin + 30 * kMillisecond).empty());
  EXPECT_GE(clock.now() - begin, 30 * kMillisecond);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(event.get(), &one, sizeof one), 8);
  const auto tags = waiter->block(kNever);
  ASSERT_EQ(tags.size(), 1U);
  EXPECT_EQ(tags[0], 42U);
  ASSERT_TRUE(waiter->remove(event.get()));
  ASSERT_TRUE(send_text(*a, b->local(), "wake"));
  EXPECT_TRUE(waiter->block(clock.now() + 10 * kSecond).empty());
  EXPECT_EQ(receive_text(*b), "wake");
  EXPECT_FALSE(waiter->add(event.get(), ~std::uint64_t{0}));
}

/// How long `waiter` would poll after `rounds` waits that an event has ended.
Nanos spin_after(Waiter& waiter, int event, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    while (!waiter.idle()) {
    }
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(event, &one, sizeof one), 8);
    EXPECT_EQ(waiter.block(kNever).size(), 1U);
    std::uint64_t sum = 0;
    EXPECT_EQ(::read(event, &sum, sizeof sum), 8);
  }
  return waiter.spin_time();
}

TEST(Waiter, PollsOnlyWherePollingSparesTheSleep) {
  const auto a = udp();
  const SystemClock clock;
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  // Whatever comes within ten seconds comes soon.
  auto soon =
      Waiter::create(*a, clock, {.spin_polls = 3, .spin_time = 10 * kSecond, .least_spin = kMillisecond});
  ASSERT_TRUE(soon);
  ASSERT_TRUE(soon->add(event.get(), 1));
  EXPECT_EQ(soon->spin_time(), kMillisecond);
  EXPECT_EQ(spin_after(*soon, event.get(), 2), 4 * kMillisecond);
  EXPECT_EQ(spin_after(*soon, event.get(), 60), 10 * kSecond) << "no further";
  soon->busy();
  EXPECT_FALSE(soon->idle());
  soon->allow_spin(false);
  EXPECT_TRUE(soon->idle()) << "somebody else wants the CPU";
  soon->allow_spin(true);
  EXPECT_FALSE(soon->idle());
  ASSERT_TRUE(soon->remove(event.get()));
  // Nothing comes within a nanosecond.
  auto late = Waiter::create(*a, clock, {.spin_polls = 3, .spin_time = 1, .least_spin = 1});
  ASSERT_TRUE(late);
  ASSERT_TRUE(late->add(event.get(), 1));
  EXPECT_EQ(spin_after(*late, event.get(), 1), 0);
  EXPECT_TRUE(late->idle()) << "it would sleep at once";
}

TEST(Waiter, IdleLoopCostsUnderOnePercent) {
  const auto a = udp();
  const SystemClock clock;
  auto waiter = Waiter::create(*a, clock);
  ASSERT_TRUE(waiter);
  const auto cpu = [] {
    rusage u{};
    ::getrusage(RUSAGE_THREAD, &u);
    return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
  };
  const double before = cpu();
  const Nanos begin = clock.now();
  // A loop with a keep-alive five times a second.
  while (clock.now() < begin + 2 * kSecond) {
    EXPECT_EQ(receive_text(*a), "");
    if (waiter->idle()) waiter->block(clock.now() + 200 * kMillisecond);
  }
  EXPECT_LT(cpu() - before, 0.02);
}

TEST(Faulty, DoesWhatItSays) {
  const SystemClock clock;
  const auto b = udp();
  Faults faults;
  std::string problem;
  ASSERT_TRUE(Faults::parse("loss=20%,dup=10%,reorder=10%,seed=3", faults, problem));
  auto made = FaultyDriver::create(udp(), clock, faults);
  ASSERT_TRUE(made);
  FaultyDriver& a = **made;
  int got = 0;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(send_text(a, b->local(), "x"));
    while (!receive_text(*b).empty()) ++got;
  }
  const Nanos begin = clock.now();
  while (clock.now() < begin + 20 * kMillisecond) {
    receive_text(a);
    while (!receive_text(*b).empty()) ++got;
  }
  EXPECT_GT(got, 1500);
  EXPECT_LT(got, 2000);
  // Cut both ways, for that address only, and healed.
  ASSERT_TRUE(Faults::parse("cut=127.0.0.1", faults, problem));
  a.set(faults);
  ASSERT_TRUE(send_text(a, b->local(), "there"));
  ASSERT_TRUE(send_text(*b, a.local(), "back"));
  EXPECT_EQ(receive_text(*b), "");
  EXPECT_EQ(receive_text(a), "");
  ASSERT_TRUE(Faults::parse("delay=5ms", faults, problem));
  a.set(faults);
  ASSERT_TRUE(send_text(a, b->local(), "late"));
  EXPECT_EQ(receive_text(*b), "");
  // The delayed packet wakes who sleeps.
  auto waiter = Waiter::create(a, clock);
  ASSERT_TRUE(waiter);
  const Nanos slept = clock.now();
  waiter->block(slept + 10 * kSecond);
  EXPECT_LT(clock.now() - slept, 5 * kSecond);
  EXPECT_EQ(receive_text(a), "");
  EXPECT_EQ(receive_text(*b), "late");
}

}  // namespace
}  // namespace hpcvmm::net
