// Goal: two and three nodes over real DPDK ports: a veth wire between two network namespaces (af_packet),
// shared memory (memif). Method: processes of dpdk_test_peer; they are killed, stopped and restarted.  Needs
// root.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "net/driver/dpdk/config.hh"
#include "net/driver/dpdk/test/lab.hh"

namespace hpcvmm::net::dpdk {
namespace {

using lab::Folder;
using lab::Peer;
using lab::Wire;
using namespace std::chrono_literals;

const std::string kOne = "10.77.0.1:7000";
const std::string kTwo = "10.77.0.2:7000";
const std::string kThree = "10.77.0.3:7000";
const std::string kWirePort = "net_af_packet0,iface=wire";

/// The memif port of node `self` towards node `peer`, as text.
std::string memif(const Folder& folder, std::uint32_t self, std::uint32_t peer, unsigned index = 0,
                  const std::string& more = "") {
  const PortConfig port = memif_port(folder.path(), self, peer, 0, index);
  return port.devargs() + ",peer=10.77.0." + std::to_string(peer) + more;
}

// --- af_packet over a wire

void ping_over_wire(unsigned mtu, bool with_addresses) {
  const Wire wire(mtu, with_addresses);
  Peer echo(wire.name(0), {kOne, kWirePort, "echo"});
  auto pinged = Peer(wire.name(1), {kTwo, kWirePort, "ping", kOne, "300", "0"}).wait();
  EXPECT_EQ(pinged["answered"], 300u);
  EXPECT_EQ(pinged["sent_again"], 0u) << "the first datagram must wait for ARP, not be lost";
  EXPECT_EQ(pinged["rx_errors"], 0u);
  EXPECT_EQ(echo.finish()["tx_packets"], 300u);
}

TEST(AfPacket, PingWithoutTheKernelsAddresses) { ping_over_wire(9000, false); }
TEST(AfPacket, PingBesideTheKernelsAddresses) { ping_over_wire(9000, true); }

// The kernel would answer a datagram to a port that none of its sockets has with ICMP.
TEST(AfPacket, TheKernelDoesNotAnswerForUs) {
  const Wire wire(9000, true);
  Peer echo(wire.name(0), {kOne, kWirePort, "echo"});
  Peer(wire.name(1), {kTwo, kWirePort, "ping", kOne, "50", "0"}).wait();
  EXPECT_EQ(lab::shell("ip netns exec " + wire.name(0) +
                       " sh -c '! grep -q \"^Udp: .*\" /proc/net/snmp || "
                       "awk \"/^Udp:/{n=\\$3} END{exit n!=0}\" /proc/net/snmp'"),
            0)
      << "UdpNoPorts counts";
}

TEST(AfPacket, TalksToAKernelSocket) {
  const Wire wire(9000, true);
  Peer echo(wire.name(0), {kOne, "-", "kernel-echo"});
  auto pinged = Peer(wire.name(1), {kTwo, kWirePort, "ping", kOne, "100", "0"}).wait();
  EXPECT_EQ(pinged["answered"], 100u);
  EXPECT_EQ(pinged["sent_again"], 0u);
}

TEST(AfPacket, NodeThatRestartsIsFoundAgain) {
  const Wire wire(9000, false);
  Peer echo(wire.name(0), {kOne, kWirePort, "echo"});
  Peer pinger(wire.name(1), {kTwo, kWirePort, "ping", kOne, "200", "10"});
  std::this_thread::sleep_for(500ms);
  echo.kill();
  Peer again(wire.name(0), {kOne, kWirePort, "echo"});
  EXPECT_EQ(pinger.wait()["answered"], 200u);
}

TEST(AfPacket, FloodArrivesWhole) {
  const Wire wire(9000, false);
  Peer sink(wire.name(0), {kOne, kWirePort, "sink"});
  auto flooded = Peer(wire.name(1), {kTwo, kWirePort, "flood", kOne, "1000"}).wait();
  auto sunk = sink.finish();
  EXPECT_GT(sunk["received"], 1000u);
  EXPECT_LE(sunk["received"], flooded["flooded"]);
  EXPECT_EQ(sunk["wrong"], 0u);
  EXPECT_EQ(sunk["backwards"], 0u);
}

// --- memif

TEST(Memif, PingEitherEndFirst) {
  const Folder folder;
  for (const bool server_first : {true, false}) {
    Peer echo("",
              {server_first ? kOne : kTwo, server_first ? memif(folder, 1, 2) : memif(folder, 2, 1), "echo"});
    auto pinged =
        Peer("", {server_first ? kTwo : kOne, server_first ? memif(folder, 2, 1) : memif(folder, 1, 2),
                  "ping", server_first ? kOne : kTwo, "300", "0"})
            .wait();
    EXPECT_EQ(pinged["answered"], 300u);
    EXPECT_EQ(pinged["rx_errors"], 0u);
  }
}

// The port's own back-pressure: what send() takes arrives.
TEST(Memif, FloodLosesNothing) {
  const Folder folder;
  const std::string small = ",rsize=5";
  Peer sink("", {kOne, memif(folder, 1, 2, 0, small), "sink"});
  auto flooded = Peer("", {kTwo, memif(folder, 2, 1, 0, small), "flood", kOne, "1500"}).wait();
  std::this_thread::sleep_for(100ms);
  auto sunk = sink.finish();
  EXPECT_GT(sunk["received"], 1000u);
  EXPECT_EQ(sunk["wrong"], 0u);
  EXPECT_EQ(sunk["backwards"], 0u);
  // What was sent before the link was up, and what lay in the ring when the sender ended.
  EXPECT_LE(flooded["flooded"] - sunk["received"], flooded["tx_link_down"] + 32);
}

// DPDK's server would write what a client with larger buffers sends over the end of its own.
TEST(Memif, EndsWithBuffersOfDifferentSizesDoNotTalk) {
  const Folder folder;
  Peer sink("", {kOne, memif(folder, 1, 2, 0, ",bsize=8192"), "sink"});
  auto flooded = Peer("", {kTwo, memif(folder, 2, 1), "flood", kOne, "500"}).wait();
  auto sunk = sink.finish();
  EXPECT_EQ(sunk["received"], 0u);
  EXPECT_EQ(sunk["net_memif0_up"], 0u);
  EXPECT_GT(sunk["net_memif0_buffer_mismatches"], 0u);
  EXPECT_EQ(flooded["flooded"], flooded["tx_link_down"]);
}

void restart(std::uint32_t victim) {
  const Folder folder;
  const std::uint32_t other = 3 - victim;
  const std::string address = victim == 1 ? kOne : kTwo;
  Peer echo("", {address, memif(folder, victim, other), "echo"});
  Peer pinger("", {victim == 1 ? kTwo : kOne, memif(folder, other, victim), "ping", address, "150", "10"});
  for (int round = 0; round < 2; ++round) {
    std::this_thread::sleep_for(300ms);
    echo.kill();
    echo = Peer("", {address, memif(folder, victim, other), "echo"});
  }
  EXPECT_EQ(pinger.wait()["answered"], 150u);
}

TEST(Memif, ServerRestarts) { restart(1); }
TEST(Memif, ClientRestarts) { restart(2); }

// DPDK unmaps the ring when the peer dies, whatever this process is doing with it (burst_lock.hh).
void kill_while_busy(std::uint32_t survivor) {
  const Folder folder;
  const std::uint32_t victim = 3 - survivor;
  const std::string survivors = survivor == 1 ? kOne : kTwo;
  const std::string victims = survivor == 1 ? kTwo : kOne;
  Peer flood("", {survivors, memif(folder, survivor, victim), "flood", victims, "6000"});
  for (int round = 0; round < 8; ++round) {
    Peer sink("", {victims, memif(folder, victim, survivor), "sink"});
    // Long enough for EAL to start (130 ms) and for a survivor that looks for its server each 100 ms to find
    // it.
    std::this_thread::sleep_for(std::chrono::milliseconds(400 + 7 * round));
    sink.kill();
  }
  auto flooded = flood.wait();
  EXPECT_GE(flooded["net_memif0_link_ups"], 4u);
}

TEST(Memif, ClientKilledWhileBusy) { kill_while_busy(1); }
TEST(Memif, ServerKilledWhileBusy) { kill_while_busy(2); }

// A node that is stopped must not hold up the traffic with the others.
TEST(Memif, StoppedPeerHoldsUpNobodyElse) {
  const Folder folder;
  Peer stopped("", {kTwo, memif(folder, 2, 1), "sink"});
  Peer echo("", {kThree, memif(folder, 3, 1), "echo"});
  const std::string both = memif(folder, 1, 2, 0) + " " + memif(folder, 1, 3, 1);
  Peer pinger("", {kOne, both, "ping", kThree, "200", "5", kTwo});
  std::this_thread::sleep_for(300ms);
  stopped.signal(SIGSTOP);
  auto pinged = pinger.wait();
  stopped.signal(SIGCONT);
  EXPECT_EQ(pinged["answered"], 200u);
  EXPECT_LE(pinged["sent_again"], 2u) << "before the links are up";
  EXPECT_GT(pinged["tx_stuck"], 0u) << "after a while what is sent to it is lost instead of queued";
}

// --- sleeping

// Every ping finds both ends asleep: a doorbell that is not rung would cost 200 ms and a second datagram.
TEST(Sleep, MemifIsWokenByItsBell) {
  const Folder folder;
  Peer echo("", {kOne, memif(folder, 1, 2), "echo"});
  auto pinged = Peer("", {kTwo, memif(folder, 2, 1), "ping", kOne, "100", "20"}).wait();
  EXPECT_EQ(pinged["answered"], 100u);
  EXPECT_LE(pinged["sent_again"], 2u) << "a busy machine may lose a ping's time";
  EXPECT_LT(pinged["median_us"], 20'000u);
}

TEST(Sleep, AfPacketIsWokenByItsSocket) {
  const Wire wire(9000, false);
  Peer echo(wire.name(0), {kOne, kWirePort, "echo"});
  auto pinged = Peer(wire.name(1), {kTwo, kWirePort, "ping", kOne, "100", "20"}).wait();
  EXPECT_EQ(pinged["sent_again"], 0u);
  EXPECT_LT(pinged["median_us"], 20'000u);
}

// Less than 1 % of a core, of which the start-up of 3 s is a small part.
void expect_idle(Peer& a, Peer& b) {
  std::this_thread::sleep_for(3s);
  EXPECT_LT(a.finish()["cpu_us"], 30'000u);
  EXPECT_LT(b.finish()["cpu_us"], 30'000u);
}

TEST(Sleep, IdleMemifCostsNothing) {
  const Folder folder;
  Peer a("", {kOne, memif(folder, 1, 2), "echo"});
  Peer b("", {kTwo, memif(folder, 2, 1), "echo"});
  expect_idle(a, b);
}

TEST(Sleep, IdleMemifWithoutPeersCostsNothing) {
  const Folder one;
  const Folder two;
  Peer a("", {kOne, memif(one, 1, 2), "echo"});
  Peer b("", {kTwo, memif(two, 2, 1), "echo"});
  expect_idle(a, b);
}

TEST(Sleep, IdleWireCostsNothing) {
  const Wire wire(9000, false);
  Peer a(wire.name(0), {kOne, kWirePort, "echo"});
  Peer b(wire.name(1), {kTwo, kWirePort, "echo"});
  expect_idle(a, b);
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
