// Goal: openMosix's map files are read as they were meant; wrong ones are refused with their line.
#include "net/discovery/map_file.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hpcvmm::net::discovery {
namespace {

using testing::HasSubstr;

std::optional<Address> resolve(const std::string& host) {
  return find_host("127.0.0.1 localhost\n10.1.1.1 server fs # the old one\n", host);
}

std::vector<MapEntry> good(std::string_view text) {
  const auto r = parse_map(text, 7200, resolve);
  const auto* const e = std::get_if<MapError>(&r);
  EXPECT_EQ(e, nullptr) << e->line << ": " << e->text;
  return e == nullptr ? std::get<0>(r) : std::vector<MapEntry>{};
}

void refused(std::string_view text, unsigned line, const char* what) {
  const auto r = parse_map(text, 7200, resolve);
  ASSERT_TRUE(std::holds_alternative<MapError>(r)) << text;
  EXPECT_EQ(std::get<MapError>(r).line, line) << text;
  EXPECT_THAT(std::get<MapError>(r).text, HasSubstr(what));
}

TEST(MapFile, RangesHostsAndAliases) {
  const auto m =
      good("# a map\n1\t192.168.1.1 3\n\n9 fs 1 # by name\n9 10.2.2.2 ALIAS\n2 10.2.2.3 0\n10 fd00::a 1\n");
  ASSERT_EQ(m.size(), 5U);
  EXPECT_EQ(m[2].node, 3U);
  EXPECT_EQ(m[2].addresses.front().text(), "192.168.1.3:7200");
  EXPECT_EQ(m[1].addresses.size(), 2U) << "0 is an alias, too";
  EXPECT_EQ(m[3].addresses.front().text(), "10.1.1.1:7200");
  EXPECT_EQ(m[3].addresses.at(1).text(), "10.2.2.2:7200");
  EXPECT_EQ(m[4].addresses.front().text(), "[fd00::a]:7200");
  EXPECT_EQ(find_own(m, {*Address::parse("10.2.2.2:1")}), 9U);
  EXPECT_EQ(find_own(m, {*Address::parse("10.9.9.9:7200")}), 0U);
}

TEST(MapFile, TextAndBack) {
  const auto m = good("1 10.0.0.1 200\n300 10.0.1.1 2\n300 10.0.9.1 ALIAS\n");
  EXPECT_EQ(map_text(m), "1\t10.0.0.1\t200\n300\t10.0.1.1\t2\n300\t10.0.9.1\tALIAS\n");
  EXPECT_EQ(map_text(good(map_text(m))), map_text(m));
}

TEST(MapFile, RefusalsNameTheLine) {
  refused("", 0, "no node");
  refused("# nothing\n", 1, "no node");
  refused("1 10.0.0.1 1\n1 10.0.0.2\n", 2, "three words");
  refused("0 10.0.0.1 1\n", 1, "1 to 65535");
  refused("70000 10.0.0.1 1\n", 1, "1 to 65535");
  refused("1 10.0.0.300 1\n", 1, "no address");
  refused("1 10.0.0.1:80 1\n", 1, "no address");
  refused("1 nowhere 1\n", 1, "no host of that name");
  refused("1 server 2\n", 1, "needs an address");
  refused("1 10.0.0.250 7\n", 1, "beyond 255");
  refused("65535 10.0.0.1 2\n", 1, "highest is 65535");
  refused("1 10.0.0.1 x\n", 1, "or ALIAS");
  refused("1 10.0.0.1 3\n2 10.0.1.1 1\n", 2, "twice");
  refused("1 10.0.0.1 3\n7 10.0.0.2 1\n", 2, "is node 2's already");
  refused("1 10.0.0.1 1\n4 10.0.0.9 ALIAS\n", 2, "no line with a range");
}

}  // namespace
}  // namespace hpcvmm::net::discovery
