// Goal: a configuration is read as meant, and every wrong one is refused with its line and the remedy.
#include "daemon/config.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace hpcvmm::daemon {
namespace {

using testing::HasSubstr;

constexpr const char* kGood = "node = 2\naddress = \"10.0.0.2:7200\"\nkey = \"/k\"\n";

Config good(const std::string& text) {
  auto r = parse_config(text, "f.toml");
  const auto* const refusal = std::get_if<Refusal>(&r);
  EXPECT_EQ(refusal, nullptr) << refusal->text;
  return refusal == nullptr ? std::get<Config>(r) : Config{};
}

std::string refused(const std::string& text) {
  auto r = parse_config(text, "f.toml");
  const auto* const refusal = std::get_if<Refusal>(&r);
  EXPECT_NE(refusal, nullptr) << "accepted: " << text;
  return refusal != nullptr ? refusal->text : "";
}

TEST(Config, AllKeys) {
  const Config c = good(
      std::string(kGood) +
      "driver = \"dpdk\"\ndevargs = \"net_af_packet0,iface=eth1\"\nfaults = \"loss=1%\"\ncpus = 0.5\n"
      "memory = \"2G\"\nrun_dir = \"/r\"\nremote_user = \"u\"\nremote = \"/x\"\nmetrics = "
      "\"127.0.0.1:9177\"\n"
      "log_level = \"debug\"\nlog_json = true\nshutdown_seconds = 3\n"
      "[[seeds]]\nid = 1\naddress = \"10.0.0.1:7200\"\n[[seeds]]\nid = 2\naddress = \"10.0.0.2:7200\"\n");
  EXPECT_EQ(c.node, 2U);
  EXPECT_EQ(c.driver, "dpdk");
  EXPECT_EQ(c.cpus, 0.5);
  EXPECT_EQ(c.memory, 2ULL << 30);
  EXPECT_EQ(c.shutdown_seconds, 3U);
  EXPECT_TRUE(c.log_json);
  ASSERT_EQ(c.seeds.size(), 1U) << "a node is no seed of itself";
  EXPECT_EQ(c.seeds[0].address, "10.0.0.1:7200");
}

TEST(Config, Defaults) {
  const Config c = good(kGood);
  EXPECT_EQ(c.run_dir, "/run/hpc-vmm/2");
  EXPECT_TRUE(c.discover);
  const Config found = good("address = \"10.0.0.2:7200\"\nkey = \"/k\"\n");
  EXPECT_EQ(found.node, 0U) << "discovery finds one";
  EXPECT_EQ(found.run_dir, "");
  EXPECT_EQ(c.driver, "udp");
  EXPECT_EQ(c.remote_user, "nobody");
  EXPECT_EQ(good(std::string(kGood) + "cpus = 3\nmemory = 1048576\n").memory, 1U << 20);
}

// What people are told of the keys: of all of them, and so that it is true.
TEST(ConfigKeys, TheListingIsAFileWithAllOfThem) {
  const Config c = good(config_listing());
  EXPECT_EQ(c.node, 1U);
  EXPECT_EQ(c.memory, 16ULL << 30);
  EXPECT_EQ(c.seeds.size(), 1U);
  const std::string unknown = refused(std::string(kGood) + "nonsense = 1\n") + ",";
  for (const ConfigKey& key : config_keys()) {
    EXPECT_THAT(unknown, HasSubstr(" " + key.name + ","));
    EXPECT_FALSE(key.text.empty() || key.text.ends_with('.')) << key.name;
  }
}

TEST(ConfigKeys, UsualValuesAreThoseOfAFileWithoutTheKey) {
  for (const ConfigKey& key : config_keys()) {
    if (!key.usual) continue;
    EXPECT_EQ(good(std::string(kGood) + key.name + " = " + key.value + "\n"), good(kGood)) << key.name;
  }
}

TEST(ConfigKeys, BoundsAndChoicesAreThoseThatAreTold) {
  for (const ConfigKey& key : config_keys()) {
    if (key.most > 0 && key.name != "node") {
      good(std::string(kGood) + key.name + " = " + std::to_string(key.most) + "\n");
      EXPECT_THAT(refused(std::string(kGood) + key.name + " = " + std::to_string(key.most + 1) + "\n"),
                  HasSubstr(std::to_string(key.least) + " to " + std::to_string(key.most)));
    }
    for (const std::string& choice : key.choices)
      good(std::string(kGood) + key.name + " = \"" + choice + "\"\n");
  }
}

TEST(ConfigKeys, TheReadmeHasTheListing) {
  std::ifstream in(HPCVMM_DAEMON_README);
  const std::string readme{std::istreambuf_iterator<char>(in), {}};
  EXPECT_THAT(readme, HasSubstr("```toml\n" + config_listing() + "```\n"))
      << "put the output of hpcd --keys into daemon/README.md";
}

TEST(Config, RefusalsNameLineAndKey) {
  EXPECT_THAT(refused("node = 1\nadress = \"x\"\n"), HasSubstr("f.toml:2: unknown key `adress`"));
  EXPECT_THAT(refused("node = \"1\"\n"), HasSubstr("f.toml:1: `node` must be a whole number"));
  EXPECT_THAT(refused("node = 0\n"), HasSubstr("`node` must be 1 to 65535, not 0"));
  EXPECT_THAT(refused(std::string(kGood) + "driver = \"tcp\"\n"),
              HasSubstr("f.toml:4: `driver` must be one of udp, dpdk"));
  EXPECT_THAT(refused(std::string(kGood) + "memory = \"2X\"\n"), HasSubstr("`memory` must be"));
  EXPECT_THAT(refused(std::string(kGood) + "cpus = -1\n"), HasSubstr("`cpus` must be"));
  EXPECT_THAT(refused(std::string(kGood) + "log_json = 1\n"), HasSubstr("`log_json` must be true or false"));
  EXPECT_THAT(refused(std::string(kGood) + "shutdown_seconds = 99999\n"), HasSubstr("0 to 3600"));
  EXPECT_THAT(refused("address = \"a:1\"\nkey = \"/k\"\ndiscover = false\n"),
              HasSubstr("`node`, this node's number, is missing"));
  EXPECT_THAT(refused(std::string(kGood) + "interfaces = [1]\n"),
              HasSubstr("each of `interfaces` must be a string"));
  EXPECT_THAT(refused("node = 1\nkey = \"/k\"\n"), HasSubstr("`address`"));
  EXPECT_THAT(refused("node = 1\naddress = \"a:1\"\n"), HasSubstr("head -c 32"));
  EXPECT_THAT(refused("node = = 1\n"), HasSubstr("f.toml:1:"));
}

TEST(Config, WrongSeeds) {
  const std::string base = kGood;
  EXPECT_THAT(refused(base + "seeds = 3\n"), HasSubstr("array of tables"));
  EXPECT_THAT(refused(base + "seeds = [1]\n"), HasSubstr("each of `seeds` must be a table"));
  EXPECT_THAT(refused(base + "[[seeds]]\nid = 1\n"), HasSubstr("no `address`"));
  EXPECT_EQ(good(base + "[[seeds]]\naddress = \"10.0.0.9:7200\"\n").seeds.at(0).id, 0U);
  EXPECT_THAT(refused(base + "[[seeds]]\nid = 1\naddress = \"x\"\nport = 3\n"),
              HasSubstr("f.toml:7: unknown key `port`"));
  EXPECT_THAT(refused(base + "[[seeds]]\nid = 1\naddress = \"x\"\n[[seeds]]\nid = 1\naddress = \"y\"\n"),
              HasSubstr("node 1 is a seed twice"));
}

TEST(Config, Sizes) {
  EXPECT_EQ(parse_size("1"), 1U);
  EXPECT_EQ(parse_size("3k"), 3072U);
  EXPECT_EQ(parse_size("2T"), 2ULL << 40);
  for (const char* bad : {"", "0", "-1", "1KB", "G", "99999999999T", "1 G"})
    EXPECT_EQ(parse_size(bad), 0U) << bad;
}

class KeyFile : public testing::Test {
 protected:
  void SetUp() override { path_ = testing::TempDir() + "/key" + std::to_string(::getpid()); }
  void TearDown() override { ::unlink(path_.c_str()); }
  std::string result(std::size_t bytes, mode_t mode) {
    std::ofstream(path_, std::ios::binary) << std::string(bytes, 'x');
    ::chmod(path_.c_str(), mode);
    const auto r = read_key(path_);
    return std::holds_alternative<Refusal>(r) ? std::get<Refusal>(r).text : "good";
  }
  std::string path_;
};

TEST_F(KeyFile, OnlyThirtyTwoBytesForUsAlone) {
  EXPECT_EQ(result(32, 0600), "good");
  EXPECT_EQ(result(32, 0400), "good");
  EXPECT_THAT(result(31, 0600), HasSubstr("exactly 32 bytes, has 31"));
  EXPECT_THAT(result(33, 0600), HasSubstr("exactly 32 bytes"));
  EXPECT_THAT(result(32, 0640), HasSubstr("chmod 600"));
  EXPECT_THAT(result(32, 0604), HasSubstr("chmod 600"));
}

TEST_F(KeyFile, NoLinkAndNoFolder) {
  EXPECT_THAT(std::get<Refusal>(read_key(path_)).text, HasSubstr("No such file"));
  EXPECT_THAT(std::get<Refusal>(read_key("/tmp")).text, HasSubstr("not a regular file"));
  ASSERT_EQ(::symlink("/etc/passwd", path_.c_str()), 0);
  EXPECT_TRUE(std::holds_alternative<Refusal>(read_key(path_)));
}

}  // namespace
}  // namespace hpcvmm::daemon
