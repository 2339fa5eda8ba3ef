// Goal: a port's text is read exactly, and what is wrong with it is said.
#include "net/driver/dpdk/config.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hpcvmm::net::dpdk {
namespace {

using testing::HasSubstr;

TEST(PortText, IsReadAndWritten) {
  std::string why;
  const auto port = parse_port("net_memif3,role=client,socket=/run/a b.sock,peer=10.77.0.2", why);
  ASSERT_TRUE(port) << why;
  EXPECT_EQ(port->device, "net_memif3");
  EXPECT_EQ(port->kind(), "net_memif");
  EXPECT_EQ(port->peer, 0x0a4d0002u);
  EXPECT_EQ(port->devargs(), "net_memif3,role=client,socket=/run/a b.sock");
}

TEST(PortText, KnowsPciAddresses) {
  std::string why;
  const auto port = parse_port("0000:3b:00.0", why);
  ASSERT_TRUE(port) << why;
  EXPECT_EQ(port->kind(), "pci");
  EXPECT_EQ(port->devargs(), "0000:3b:00.0");
}

TEST(PortText, SeveralPorts) {
  std::string why;
  const auto ports = parse_ports("net_af_packet0,iface=eth1; net_memif0,role=server,socket=/a\n", why);
  ASSERT_TRUE(ports) << why;
  ASSERT_EQ(ports->size(), 2u);
  EXPECT_EQ((*ports)[1].keys.at("role"), "server");
}

TEST(PortText, SaysWhatIsWrong) {
  const auto complaint = [](std::string_view text) {
    std::string why;
    EXPECT_FALSE(parse_ports(text, why)) << text;
    return why;
  };
  EXPECT_THAT(complaint(""), HasSubstr("no port"));
  EXPECT_THAT(complaint("eth0"), HasSubstr("should begin with a DPDK device"));
  EXPECT_THAT(complaint("net_af_packet,iface=e"), HasSubstr("net_af_packet0"));
  EXPECT_THAT(complaint("net_af_packet0,iface"), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(complaint("net_af_packet0,iface="), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(complaint("net_af_packet0,a=1,a=2"), HasSubstr("twice"));
  EXPECT_THAT(complaint("net_memif0,peer=fd00::1"), HasSubstr("IPv4"));
  EXPECT_THAT(complaint("net_memif0,peer=1.2.3.4:5"), HasSubstr("IPv4"));
  EXPECT_THAT(complaint("net_memif0,a=1 net_memif0,b=1"), HasSubstr("named twice"));
}

// Both ends must agree on the socket and disagree on the role, whoever asks.
TEST(MemifPort, IsTheSamePortFromBothEnds) {
  const auto one = memif_port("/run/x", 1, 3, 0x0a4d0003, 0);
  const auto three = memif_port("/run/x", 3, 1, 0x0a4d0001, 0);
  EXPECT_EQ(one.keys.at("socket"), "/run/x/memif-1-3.sock");
  EXPECT_EQ(one.keys.at("socket"), three.keys.at("socket"));
  EXPECT_EQ(one.keys.at("role"), "server");
  EXPECT_EQ(three.keys.at("role"), "client");
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
