// Goal: what one image of the VMM tells the next across execve arrives whole, or not at all.
// Method: encode, decode, compare; then every shorter and one longer input.
#include "vmm/deputy/exec.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace hpcvmm::deputy {
namespace {

/// No field at its default, no two alike.
ExecConfig unusual() {
  ExecConfig c;
  c.options.engine = Options::Choice::Direct;
  c.options.verbose = true;
  c.options.trace_fd = 900;
  c.options.summary_fd = 901;
  c.options.cpus = 7;
  c.options.view_fd = 905;
  c.options.accounts_fd = 906;
  c.used_user_us = 0x1'0000'0002;
  c.used_system_us = 0x1'0000'0003;
  c.affinity = "0-3,17";
  c.options.facts_known = true;
  c.options.kvm_run[0] = 1;
  c.options.kvm_run[1] = 2;
  c.options.direct_run[0] = false;
  c.options.direct_run[1] = true;
  c.options.chosen_for = Abi::Ia32;
  c.program_fd = 902;
  c.execfn = "./a name";
  c.path = "/usr/bin/a name";
  c.secure = true;
  c.nofile_hard = 0x1'0000'0001;
  c.mask = 0x8000'0000'0000'4001;
  c.kvm_fd = 903;
  c.self_fd = 904;
  c.seccomp = std::string("\0\1filter\0", 9);
  c.cpuid = std::string(7696, '\xff');
  return c;
}

void expect_same(const ExecConfig& a, const ExecConfig& b) {
  EXPECT_EQ(a.options.engine, b.options.engine);
  EXPECT_EQ(a.options.verbose, b.options.verbose);
  EXPECT_EQ(a.options.trace_fd, b.options.trace_fd);
  EXPECT_EQ(a.options.summary_fd, b.options.summary_fd);
  EXPECT_EQ(a.options.cpus, b.options.cpus);
  EXPECT_EQ(a.options.view_fd, b.options.view_fd);
  EXPECT_EQ(a.options.accounts_fd, b.options.accounts_fd);
  EXPECT_EQ(a.used_user_us, b.used_user_us);
  EXPECT_EQ(a.used_system_us, b.used_system_us);
  EXPECT_EQ(a.affinity, b.affinity);
  EXPECT_EQ(a.options.facts_known, b.options.facts_known);
  for (unsigned i = 0; i < 2; ++i) {
    EXPECT_EQ(a.options.kvm_run[i], b.options.kvm_run[i]);
    EXPECT_EQ(a.options.direct_run[i], b.options.direct_run[i]);
  }
  EXPECT_EQ(a.options.chosen_for, b.options.chosen_for);
  EXPECT_EQ(a.program_fd, b.program_fd);
  EXPECT_EQ(a.execfn, b.execfn);
  EXPECT_EQ(a.path, b.path);
  EXPECT_EQ(a.secure, b.secure);
  EXPECT_EQ(a.nofile_hard, b.nofile_hard);
  EXPECT_EQ(a.mask, b.mask);
  EXPECT_EQ(a.kvm_fd, b.kvm_fd);
  EXPECT_EQ(a.self_fd, b.self_fd);
  EXPECT_EQ(a.seccomp, b.seccomp);
  EXPECT_EQ(a.cpuid, b.cpuid);
}

TEST(ExecConfig, ArrivesWhole) {
  for (const ExecConfig& sent : {unusual(), ExecConfig{}}) {
    ExecConfig got = unusual();
    ASSERT_TRUE(decode(encode(sent), got));
    expect_same(got, sent);
  }
}

TEST(ExecConfig, AnyShorterOneIsRefused) {
  const std::string whole = encode(unusual());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    ExecConfig c;
    ASSERT_FALSE(decode(whole.substr(0, n), c)) << n << " bytes of " << whole.size();
  }
}

TEST(ExecConfig, OtherFormatsAreRefused) {
  const std::string whole = encode(unusual());
  ExecConfig c;
  EXPECT_FALSE(decode(whole + '\0', c)) << "something behind the end";
  std::string other = whole;
  ++other[0];
  EXPECT_FALSE(decode(other, c)) << "another version";
  // A length that wraps the reader's position.
  const std::string name = "./a name";
  other = whole;
  const std::uint64_t huge = ~std::uint64_t{0} - 4;
  std::memcpy(&other[other.find(name) - sizeof huge], &huge, sizeof huge);
  EXPECT_FALSE(decode(other, c)) << "a string of nearly 2^64 bytes";
}

}  // namespace
}  // namespace hpcvmm::deputy
