// Goal: `--engine auto` follows the policy in every combination, and a cache can never make it choose on
// facts of another host, boot or user.  Method: the whole table of facts; damaged and foreign cache texts;
// real files.
#include "vmm/probe/engine_facts.hh"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

namespace hpcvmm::probe {
namespace {

EngineFacts facts_of(CodeRun kvm64, CodeRun kvm32, bool direct64, bool direct32) {
  EngineFacts facts;
  facts.kvm = {kvm64, kvm32};
  facts.direct = {direct64, direct32};
  return facts;
}

TEST(ChooseEngine, IsolationFirstForEveryCombination) {
  for (const Abi abi : {Abi::X64, Abi::Ia32}) {
    for (const CodeRun run : {CodeRun::Absent, CodeRun::Emulated, CodeRun::Native}) {
      for (const bool direct : {false, true}) {
        // The other ABI's facts are the opposite: they must not matter.
        const CodeRun other = run == CodeRun::Native ? CodeRun::Absent : CodeRun::Native;
        const EngineFacts facts =
            abi == Abi::X64 ? facts_of(run, other, direct, !direct) : facts_of(other, run, !direct, direct);
        std::string reason;
        const auto chosen = choose_engine(abi, facts, reason);
        EXPECT_NE(reason.find(to_string(abi)), std::string::npos) << reason;
        if (run == CodeRun::Native)
          EXPECT_EQ(chosen, engine::Kind::Kvm) << reason;
        else if (direct)
          EXPECT_EQ(chosen, engine::Kind::Direct) << reason;
        else
          EXPECT_FALSE(chosen) << reason;
      }
    }
  }
}

TEST(ChooseEngine, ReasonsNameTheRemedy) {
  std::string reason;
  EXPECT_FALSE(choose_engine(Abi::Ia32, facts_of(CodeRun::Native, CodeRun::Emulated, true, false), reason));
  EXPECT_NE(reason.find("CONFIG_IA32_EMULATION"), std::string::npos) << reason;
  EXPECT_NE(reason.find("--engine kvm"), std::string::npos) << reason;
  EXPECT_FALSE(choose_engine(Abi::X64, facts_of(CodeRun::Absent, CodeRun::Absent, false, false), reason));
  EXPECT_NE(reason.find("/dev/kvm"), std::string::npos) << reason;
  EXPECT_EQ(reason.find("--engine kvm"), std::string::npos) << "there is no kvm to fall back on: " << reason;
  EXPECT_TRUE(choose_engine(Abi::Ia32, facts_of(CodeRun::Native, CodeRun::Emulated, true, true), reason));
  EXPECT_NE(reason.find("does not isolate"), std::string::npos) << reason;
}

const EngineFacts kSample = facts_of(CodeRun::Native, CodeRun::Emulated, true, false);

TEST(Conclusive, OnlyFactsOfTheHostAreKept) {
  EXPECT_TRUE(conclusive(Outcome::Done));
  EXPECT_TRUE(conclusive(Outcome::Done, ENOENT));
  EXPECT_TRUE(conclusive(Outcome::Crashed))
      << "int $0x80 without IA32 emulation ends the child: that is the fact";
  EXPECT_FALSE(conclusive(Outcome::TimedOut));
  EXPECT_FALSE(conclusive(Outcome::NotRun));
  EXPECT_FALSE(conclusive(Outcome::Done, ENOMEM));
}

TEST(EngineCache, RoundTripsEveryCombination) {
  for (const CodeRun kvm64 : {CodeRun::Absent, CodeRun::Emulated, CodeRun::Native})
    for (const CodeRun kvm32 : {CodeRun::Absent, CodeRun::Emulated, CodeRun::Native})
      for (const int direct : {0, 1, 2, 3}) {
        const EngineFacts facts = facts_of(kvm64, kvm32, (direct & 1) != 0, (direct & 2) != 0);
        EXPECT_EQ(parse_engine_cache(format_engine_cache(facts, "k 1"), "k 1"), facts);
      }
}

TEST(EngineCache, ForeignOrDamagedTextIsNoFact) {
  const std::string good = format_engine_cache(kSample, "boot-a 6.1");
  ASSERT_TRUE(parse_engine_cache(good, "boot-a 6.1"));
  EXPECT_FALSE(parse_engine_cache(good, "boot-b 6.1"));
  EXPECT_FALSE(parse_engine_cache(good, "boot-a 6.1 "));
  EXPECT_FALSE(parse_engine_cache(good, "boot-a 6."));
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes)
    EXPECT_FALSE(parse_engine_cache(good.substr(0, bytes), "boot-a 6.1")) << bytes;
  EXPECT_FALSE(parse_engine_cache(good + "x", "boot-a 6.1"));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = '#';
    EXPECT_FALSE(parse_engine_cache(bad, "boot-a 6.1")) << at;
  }
}

class CacheFile : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(dir_), nullptr); }
  void TearDown() override {
    ::unlink(path().c_str());
    ::rmdir((std::string(dir_) + "/a/b").c_str());
    ::rmdir((std::string(dir_) + "/a").c_str());
    ::rmdir(dir_);
  }
  std::string path() const { return std::string(dir_) + "/a/b/host-facts"; }
  char dir_[64] = "/tmp/host-facts-test-XXXXXX";
};

TEST_F(CacheFile, IsUsedOnceWrittenAndOnlyWhileTrustworthy) {
  ASSERT_TRUE(store_engine_cache(kSample, path()));
  EngineFacts facts;
  EXPECT_TRUE(load_or_measure_engines(facts, path()));
  EXPECT_EQ(facts, kSample);
  ASSERT_EQ(::chmod(path().c_str(), 0666), 0);  // anybody could have written it
  EXPECT_FALSE(load_or_measure_engines(facts, path()));
  const EngineFacts measured = facts;
  EXPECT_TRUE(load_or_measure_engines(facts, path())) << "measuring must have replaced the file";
  EXPECT_EQ(facts, measured);
}

TEST_F(CacheFile, SymbolicLinksAreNotFollowed) {
  ASSERT_TRUE(store_engine_cache(kSample, path()));
  const std::string real = std::string(dir_) + "/real";
  ASSERT_EQ(::rename(path().c_str(), real.c_str()), 0);
  ASSERT_EQ(::symlink(real.c_str(), path().c_str()), 0);
  EngineFacts facts;
  EXPECT_FALSE(load_or_measure_engines(facts, path()));
  ::unlink(real.c_str());
}

TEST(EngineCache, UnwritablePlaceOnlyCostsTheMeasurement) {
  EngineFacts first;
  EngineFacts second;
  EXPECT_FALSE(load_or_measure_engines(first, "/proc/no-such-directory/host-facts"));
  EXPECT_FALSE(load_or_measure_engines(second, ""));
  EXPECT_EQ(first, second);
  EXPECT_FALSE(store_engine_cache(first, "/proc/no-such-directory/host-facts"));
}

TEST_F(CacheFile, ReadingCostsMicroseconds) {
  ASSERT_TRUE(store_engine_cache(kSample, path()));
  std::vector<double> times(101);
  for (double& t : times) {
    EngineFacts facts;
    const double begin = now_us();
    ASSERT_TRUE(load_or_measure_engines(facts, path()));
    t = now_us() - begin;
  }
  const double typical = median(times.data(), static_cast<unsigned>(times.size()));
  std::printf("cached engine facts: %.1f us\n", typical);
  EXPECT_LT(typical, 50);
}

TEST(EngineCache, PathFollowsTheEnvironment) {
  ::setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  EXPECT_EQ(engine_cache_path(), "/run/user/7/hpc-vmm/host-facts");
  ::unsetenv("XDG_RUNTIME_DIR");
  ::setenv("HOME", "/home/ann", 1);
  EXPECT_EQ(engine_cache_path(), "/home/ann/.cache/hpc-vmm/host-facts");
  ::unsetenv("HOME");
  EXPECT_EQ(engine_cache_path(), "");
}

}  // namespace
}  // namespace hpcvmm::probe
