// One node of the tests that need several: a process of its own, because DPDK is started once per process.
//
//   dpdk_test_peer ADDRESS PORTS echo                      answers every datagram until stdin ends
//   dpdk_test_peer ADDRESS PORTS ping PEER COUNT GAP_MS [FLOODED]
//                                                          one datagram at a time, waiting GAP_MS between
//                                                          two, and meanwhile as many as are taken to FLOODED
//   dpdk_test_peer ADDRESS PORTS flood PEER MS             numbered datagrams as fast as they are taken
//   dpdk_test_peer ADDRESS PORTS sink                      checks what flood sends, until stdin ends
//   dpdk_test_peer ADDRESS - kernel-echo                   echo over a plain kernel socket
//
// Prints "ready" when it runs, and at the end "NAME VALUE" lines: what it counted, the CPU time it took.
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/waiter.hh"

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::uint32_t kPayload = 4096;
constexpr std::uint64_t kStdin = 1;

void print(std::string_view name, std::uint64_t value) {
  std::printf("%.*s %lu\n", static_cast<int>(name.size()), name.data(), static_cast<unsigned long>(value));
}

std::uint64_t cpu_us() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec * 1'000'000 + t.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

/// Word i of datagram `number`.
std::uint64_t pattern(std::uint64_t number, std::size_t i) { return (number + i) * 0x9e3779b97f4a7c15ULL; }

void fill(TxPacket& packet, std::uint64_t number) {
  for (std::size_t i = 0; i < kPayload / 8; ++i) {
    const std::uint64_t word = i == 0 ? number : pattern(number, i);
    std::memcpy(packet.data + i * 8, &word, 8);
  }
  packet.bytes = kPayload;
}

class Node {
 public:
  Node(Driver& driver, Waiter& waiter, const Clock& clock)
      : driver_(driver), waiter_(waiter), clock_(clock) {}

  void echo() {
    while (!over_) {
      std::array<RxPacket, kMaxBurst> received;
      const std::size_t n = driver_.receive(received);
      for (std::size_t i = 0; i < n; ++i) answer(received[i]);
      driver_.release({received.data(), n});
      rest(n != 0, kNever);
    }
  }

  void also_flood(const Address& peer) { flooded_ = peer; }

  void ping(const Address& peer, int count, Nanos gap) {
    std::vector<Nanos> times;
    std::uint64_t again = 0;
    for (int i = 0; i < count && !over_; ++i) {
      if (gap != 0) pause(gap);
      const Nanos begin = clock_.now();
      for (Nanos since = begin; !over_; ++again, since = clock_.now()) {
        send_one(peer, static_cast<std::uint64_t>(i));
        if (await(static_cast<std::uint64_t>(i), since + 200 * kMillisecond)) break;
      }
      times.push_back(clock_.now() - begin);
    }
    std::sort(times.begin(), times.end());
    print("answered", times.size());
    print("sent_again", again);
    print("median_us", times.empty() ? 0 : times[times.size() / 2] / 1000);
  }

  void flood(const Address& peer, Nanos length) {
    const Nanos end = clock_.now() + length;
    std::uint64_t number = 0;
    while (clock_.now() < end && !over_) {
      const std::size_t sent = send_burst(peer, number);
      number += sent;
      drain();
      rest(sent != 0, end);
    }
    print("flooded", number);
  }

  void sink() {
    std::uint64_t next = 0;
    std::uint64_t received = 0;
    std::uint64_t wrong = 0;
    std::uint64_t backwards = 0;
    while (!over_) {
      std::array<RxPacket, kMaxBurst> packets;
      const std::size_t n = driver_.receive(packets);
      for (std::size_t i = 0; i < n; ++i) {
        std::uint64_t number = 0;
        if (packets[i].bytes == kPayload) std::memcpy(&number, packets[i].data, 8);
        wrong += is_whole(packets[i], number) ? 0 : 1;
        backwards += number < next ? 1 : 0;
        next = number + 1;
      }
      received += n;
      driver_.release({packets.data(), n});
      rest(n != 0, kNever);
    }
    print("received", received);
    print("next", next);
    print("wrong", wrong);
    print("backwards", backwards);
  }

 private:
  static bool is_whole(const RxPacket& packet, std::uint64_t number) {
    if (packet.bytes != kPayload) return false;
    for (std::size_t i = 1; i < kPayload / 8; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, packet.data + i * 8, 8);
      if (word != pattern(number, i)) return false;
    }
    return true;
  }

  void answer(const RxPacket& question) {
    std::array<TxPacket, 1> packet;
    if (driver_.alloc(packet) == 0) return;
    std::memcpy(packet[0].data, question.data, question.bytes);
    packet[0].bytes = question.bytes;
    if (driver_.send(question.from, packet) == 0) driver_.free(packet);
  }

  std::size_t send_burst(const Address& peer, std::uint64_t number) {
    std::array<TxPacket, 32> packets;
    const std::size_t n = driver_.alloc(packets);
    for (std::size_t i = 0; i < n; ++i) fill(packets[i], number + i);
    const std::size_t sent = driver_.send(peer, {packets.data(), n});
    driver_.free({packets.data() + sent, n - sent});
    return sent;
  }

  void send_one(const Address& peer, std::uint64_t number) {
    std::array<TxPacket, 1> packet;
    if (driver_.alloc(packet) == 0) return;
    fill(packet[0], number);
    if (driver_.send(peer, packet) == 0) driver_.free(packet);
  }

  bool await(std::uint64_t number, Nanos deadline) {
    while (clock_.now() < deadline && !over_) {
      std::array<RxPacket, kMaxBurst> received;
      const std::size_t n = driver_.receive(received);
      bool found = false;
      for (std::size_t i = 0; i < n; ++i) {
        std::uint64_t got = 0;
        std::memcpy(&got, received[i].data, std::min<std::size_t>(8, received[i].bytes));
        found = found || (got == number && is_whole(received[i], number));
      }
      driver_.release({received.data(), n});
      if (found) return true;
      rest(n != 0, deadline);
    }
    return false;
  }

  void pause(Nanos length) {
    const Nanos end = clock_.now() + length;
    while (clock_.now() < end && !over_) {
      drain();
      rest(false, end);
    }
  }

  void drain() {
    std::array<RxPacket, kMaxBurst> received;
    const std::size_t n = driver_.receive(received);
    driver_.release({received.data(), n});
  }

  void rest(bool was_busy, Nanos deadline) {
    if (flooded_ && send_burst(*flooded_, 0) != 0) was_busy = true;
    if (was_busy) return waiter_.busy();
    if (!waiter_.idle()) return;
    for (const std::uint64_t tag : waiter_.block(deadline)) over_ = over_ || tag == kStdin;
  }

  Driver& driver_;
  Waiter& waiter_;
  const Clock& clock_;
  bool over_ = false;
  std::optional<Address> flooded_;
};

/// A node whose driver is the kernel's.
int kernel_echo(const Address& address) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(address.port);
  at.sin_addr.s_addr = htonl(address.v4());
  sockaddr generic{};
  std::memcpy(&generic, &at, sizeof at);
  if (::bind(socket.get(), &generic, sizeof generic) != 0) {
    std::perror("bind");
    return 1;
  }
  std::puts("ready");
  std::fflush(stdout);
  std::array<char, 9000> buffer;
  for (;;) {
    std::array<pollfd, 2> polls{{{socket.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
    ::poll(polls.data(), polls.size(), -1);
    if (polls[1].revents != 0) return 0;
    socklen_t bytes = sizeof generic;
    const ssize_t n = ::recvfrom(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT, &generic, &bytes);
    if (n > 0) ::sendto(socket.get(), buffer.data(), static_cast<std::size_t>(n), 0, &generic, bytes);
  }
}

void report(const Driver& driver, std::uint64_t cpu_before) {
  print("cpu_us", cpu_us() - cpu_before);
  const DriverCounters counters = driver.counters();
  print("tx_packets", counters.tx_packets);
  print("rx_packets", counters.rx_packets);
  print("tx_errors", counters.tx_errors);
  print("rx_errors", counters.rx_errors);
  driver.more_counters(print);
  std::fflush(stdout);
}

int run(const std::vector<std::string>& args) {
  const Address address = Address::parse(args[1]).value();
  if (args[3] == "kernel-echo") return kernel_echo(address);
  std::string why;
  const auto ports = parse_ports(args[2], why);
  if (!ports) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 2;
  }
  const SystemClock clock;
  DriverConfig config;
  config.address = address;
  config.ports = *ports;
  config.file_prefix = "hpcvmm-test-" + std::to_string(::getpid());
  config.warn = [](std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  auto driver = make_dpdk_driver(config, clock, why);
  if (!driver) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 2;
  }
  auto waiter = Waiter::create(**driver, clock);
  if (!waiter || !waiter->add(STDIN_FILENO, kStdin)) return 2;
  std::puts("ready");
  std::fflush(stdout);
  const std::uint64_t cpu_before = cpu_us();
  Node node(**driver, *waiter, clock);
  if (args[3] == "echo") node.echo();
  if (args[3] == "sink") node.sink();
  if (args[3] == "ping" && args.size() > 7) node.also_flood(Address::parse(args[7]).value());
  if (args[3] == "ping")
    node.ping(Address::parse(args[4]).value(), std::stoi(args[5]), std::stoull(args[6]) * kMillisecond);
  if (args[3] == "flood") node.flood(Address::parse(args[4]).value(), std::stoull(args[5]) * kMillisecond);
  report(**driver, cpu_before);
  return 0;
}

}  // namespace
}  // namespace hpcvmm::net::dpdk

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that dies leaves nobody behind
  const std::vector<std::string> args(argv, argv + argc);
  return args.size() < 4 ? 2 : hpcvmm::net::dpdk::run(args);
}
