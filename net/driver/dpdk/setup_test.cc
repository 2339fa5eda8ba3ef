// Goal: what is wrong with a configuration is said before DPDK is started, with the remedy.  Method: wrong
// ones.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "net/driver/dpdk/dpdk_driver.hh"
#include "net/driver/dpdk/interface.hh"
#include "net/driver/dpdk/port.hh"

namespace hpcvmm::net::dpdk {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Complaint {
  int code = 0;
  std::string why;
};

DriverConfig with_ports(std::string_view ports) {
  std::string why;
  DriverConfig config;
  config.address = Address::from_v4(0x7f000001, 17799);
  if (!ports.empty()) config.ports = parse_ports(ports, why).value_or(std::vector<PortConfig>{});
  return config;
}

Complaint complaint(const DriverConfig& config) {
  const SystemClock clock;
  Complaint said;
  auto driver = make_dpdk_driver(config, clock, said.why);
  EXPECT_FALSE(driver);
  if (!driver) said.code = driver.error().code;
  return said;
}

TEST(Setup, AddressMustBeIpv4WithPort) {
  DriverConfig config = with_ports("net_af_packet0,iface=lo");
  config.address = *Address::parse("[fd00::1]:7000");
  EXPECT_THAT(complaint(config).why, HasSubstr("IPv4"));
  config.address = *Address::parse("10.0.0.1");
  EXPECT_EQ(complaint(config).code, EINVAL);
}

TEST(Setup, PortsMustMakeSense) {
  EXPECT_THAT(complaint(with_ports("")).why, HasSubstr("try net_af_packet0,iface=eth1"));
  EXPECT_THAT(complaint(with_ports("net_af_packet0,iface=lo net_af_packet1,iface=lo")).why,
              HasSubstr("peer="));
  EXPECT_THAT(complaint(with_ports("net_af_packet0")).why, HasSubstr("needs iface="));
  EXPECT_THAT(complaint(with_ports("net_af_packet0,iface=lo,framesz=ten")).why, HasSubstr("framesz=ten"));
  EXPECT_THAT(complaint(with_ports("net_memif0,socket=/tmp/x,peer=10.0.0.2")).why, HasSubstr("needs role="));
  EXPECT_THAT(complaint(with_ports("net_memif0,role=boss,socket=/tmp/x,peer=10.0.0.2")).why,
              HasSubstr("server or client"));
  EXPECT_THAT(complaint(with_ports("net_memif0,role=server,socket=/tmp/x")).why, HasSubstr("needs peer="));
  EXPECT_THAT(complaint(with_ports("net_memif0,role=server,zero-copy=yes,socket=/tmp/x,peer=10.0.0.2")).why,
              HasSubstr("zero-copy"));
  EXPECT_THAT(complaint(with_ports("net_memif0,role=server,bsize=99999,socket=/tmp/x,peer=10.0.0.2")).why,
              HasSubstr("256 to 32768"));
}

TEST(Setup, AMissingInterfaceIsNamedWithThoseThatExist) {
  const Complaint said = complaint(with_ports("net_af_packet0,iface=nosuch7"));
  EXPECT_EQ(said.code, ENODEV);
  EXPECT_THAT(said.why, AllOf(HasSubstr("nosuch7"), HasSubstr("there are: "), HasSubstr("lo")));
}

TEST(Setup, APortInUseIsNamed) {
  const UniqueFd taken(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr generic{};
  std::memcpy(&generic, &at, sizeof at);
  ASSERT_EQ(::bind(taken.get(), &generic, sizeof generic), 0);
  socklen_t bytes = sizeof generic;
  ASSERT_EQ(::getsockname(taken.get(), &generic, &bytes), 0);
  std::memcpy(&at, &generic, sizeof at);
  std::string why;
  const auto guard = guard_port(Address::from_v4(0x7f000001, ntohs(at.sin_port)), why);
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, EADDRINUSE);
  EXPECT_THAT(why, HasSubstr("another program"));
}

TEST(Setup, AnAddressTheKernelLacksNeedsNoGuard) {
  std::string why;
  const auto guard =
      guard_port(Address::from_v4(0xc6336401, 7000), why);  // 198.51.100.1, for documentation only
  ASSERT_TRUE(guard) << why;
  EXPECT_FALSE(*guard);
}

TEST(Plan, FillsInWhatAPortNeeds) {
  std::string why;
  std::string warned;
  const auto warn = [&](std::string_view text) { warned += text; };
  auto plan =
      plan_port(parse_port("net_memif0,role=server,socket=/tmp/x,peer=10.0.0.2", why).value(), warn, why);
  ASSERT_TRUE(plan) << why;
  EXPECT_EQ(plan->config.keys.at("socket-abstract"), "no");
  EXPECT_EQ(std::to_string(plan->frame_bytes), plan->config.keys.at("bsize"));
  EXPECT_GE(plan->frame_bytes, kDefaultPayload + kHeaderBytes);
  auto wire = plan_port(parse_port("net_af_packet0,iface=lo", why).value(), warn, why);
  ASSERT_TRUE(wire) << why << " (needs root)";
  const auto number = [&](const char* key) { return std::stoul(wire->config.keys.at(key)); };
  EXPECT_EQ(number("blocksz") % 4096, 0u);
  EXPECT_EQ(number("blocksz") % number("framesz"), 0u);
  EXPECT_EQ(number("framecnt") % (number("blocksz") / number("framesz")), 0u);
  EXPECT_GE(wire->frame_bytes, 9000u);
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
