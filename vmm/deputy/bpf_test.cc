#include "vmm/deputy/bpf.hh"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

namespace hpcvmm::deputy::bpf {
namespace {

using Program = std::vector<Insn>;

Insn stmt(unsigned code, std::uint32_t k) { return {static_cast<std::uint16_t>(code), 0, 0, k}; }
Insn jump(unsigned code, std::uint32_t k, unsigned jt, unsigned jf) {
  return {static_cast<std::uint16_t>(code), static_cast<std::uint8_t>(jt), static_cast<std::uint8_t>(jf), k};
}
const Insn kRetA = stmt(BPF_RET | BPF_A, 0);
const Insn kAllow = stmt(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

/// Runs instructions that leave a value in A.
std::uint32_t value(Program p, const Data& data = {}) {
  p.push_back(kRetA);
  EXPECT_TRUE(valid(p));
  return run(p, data);
}

TEST(BpfRun, LoadsTheCall) {
  const Data d{39, 0xc000003e, 0x1122334455667788, {0xaabbccdd00112233, 1, 2, 3, 4, 0xffffffff00000005}};
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_ABS, 0)}, d), 39U);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_ABS, 4)}, d), 0xc000003eU);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_ABS, 12)}, d), 0x11223344U);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_ABS, 16)}, d), 0x00112233U);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_ABS, 60)}, d), 0xffffffffU);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_W | BPF_LEN, 0)}, d), 64U);
  EXPECT_EQ(value({stmt(BPF_LDX | BPF_W | BPF_LEN, 0), stmt(BPF_MISC | BPF_TXA, 0)}, d), 64U);
}

TEST(BpfRun, Arithmetic) {
  const auto with = [](std::uint32_t a, unsigned op, std::uint32_t k) {
    const std::uint32_t constant = value({stmt(BPF_LD | BPF_IMM, a), stmt(BPF_ALU | op | BPF_K, k)});
    const std::uint32_t index =
        value({stmt(BPF_LD | BPF_IMM, a), stmt(BPF_LDX | BPF_IMM, k), stmt(BPF_ALU | op | BPF_X, 0)});
    EXPECT_EQ(constant, index);
    return constant;
  };
  EXPECT_EQ(with(0xffffffff, BPF_ADD, 2), 1U);
  EXPECT_EQ(with(1, BPF_SUB, 2), 0xffffffffU);
  EXPECT_EQ(with(0x10001, BPF_MUL, 0x10001), 0x20001U);
  EXPECT_EQ(with(100, BPF_DIV, 7), 14U);
  EXPECT_EQ(with(0xf0f0, BPF_AND, 0xff00), 0xf000U);
  EXPECT_EQ(with(0xf0f0, BPF_OR, 0x0f00), 0xfff0U);
  EXPECT_EQ(with(0xf0f0, BPF_XOR, 0xffff), 0x0f0fU);
  EXPECT_EQ(with(3, BPF_LSH, 31), 0x80000000U);
  EXPECT_EQ(with(0x80000000, BPF_RSH, 31), 1U);
  EXPECT_EQ(value({stmt(BPF_LD | BPF_IMM, 5), stmt(BPF_ALU | BPF_NEG, 0)}), 0xfffffffbU);
}

TEST(BpfRun, DivisionByZeroEndsTheProgram) {
  const Program p{stmt(BPF_LD | BPF_IMM, 5), stmt(BPF_LDX | BPF_IMM, 0), stmt(BPF_ALU | BPF_DIV | BPF_X, 0),
                  kAllow};
  ASSERT_TRUE(valid(p));
  EXPECT_EQ(run(p, {}), 0U);
}

TEST(BpfRun, Jumps) {
  // Returns 1 when the jump is taken, 2 when not.
  const auto taken = [](unsigned op, std::uint32_t a, std::uint32_t k) {
    const Program p{stmt(BPF_LD | BPF_IMM, a),
                    stmt(BPF_LDX | BPF_IMM, k),
                    jump(BPF_JMP | op | BPF_X, 0, 0, 1),
                    jump(BPF_JMP | op | BPF_K, k, 1, 2),
                    stmt(BPF_RET | BPF_K, 2),
                    stmt(BPF_RET | BPF_K, 1),
                    stmt(BPF_RET | BPF_K, 3)};
    EXPECT_TRUE(valid(p));
    return run(p, {});
  };
  EXPECT_EQ(taken(BPF_JEQ, 7, 7), 1U);
  EXPECT_EQ(taken(BPF_JEQ, 7, 8), 2U);
  EXPECT_EQ(taken(BPF_JGT, 0x80000000, 1), 1U);  // unsigned
  EXPECT_EQ(taken(BPF_JGT, 7, 7), 2U);
  EXPECT_EQ(taken(BPF_JGE, 7, 7), 1U);
  EXPECT_EQ(taken(BPF_JGE, 6, 7), 2U);
  EXPECT_EQ(taken(BPF_JSET, 6, 2), 1U);
  EXPECT_EQ(taken(BPF_JSET, 6, 1), 2U);
  const Program over{jump(BPF_JMP | BPF_JA, 1, 0, 0), stmt(BPF_RET | BPF_K, 1), stmt(BPF_RET | BPF_K, 2)};
  ASSERT_TRUE(valid(over));
  EXPECT_EQ(run(over, {}), 2U);
}

TEST(BpfRun, MemoryAndRegisters) {
  EXPECT_EQ(value({stmt(BPF_LD | BPF_IMM, 9), stmt(BPF_ST, 15), stmt(BPF_LD | BPF_IMM, 0),
                   stmt(BPF_LDX | BPF_MEM, 15), stmt(BPF_STX, 0), stmt(BPF_LD | BPF_MEM, 0)}),
            9U);
  EXPECT_EQ(
      value({stmt(BPF_LD | BPF_IMM, 4), stmt(BPF_MISC | BPF_TAX, 0), stmt(BPF_ALU | BPF_ADD | BPF_X, 0)}),
      8U);
}

TEST(BpfValid, Refuses) {
  EXPECT_FALSE(valid({}));
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_IMM, 1)})) << "no return at the end";
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_W | BPF_ABS, 64), kAllow})) << "behind the data";
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_W | BPF_ABS, 2), kAllow})) << "not aligned";
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_H | BPF_ABS, 0), kAllow})) << "half word";
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_W | BPF_IND, 0), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(BPF_LDX | BPF_B | BPF_MSH, 0), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(BPF_ALU | BPF_MOD | BPF_K, 3), kAllow})) << "seccomp has no modulo";
  EXPECT_FALSE(valid(Program{stmt(BPF_ALU | BPF_DIV | BPF_K, 0), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(BPF_ALU | BPF_LSH | BPF_K, 32), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(BPF_ST, 16), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(BPF_LD | BPF_MEM, 3), kAllow})) << "read before written";
  EXPECT_FALSE(valid(Program{jump(BPF_JMP | BPF_JA, 1, 0, 0), kAllow}));
  EXPECT_FALSE(valid(Program{jump(BPF_JMP | BPF_JA, 0xffffffff, 0, 0), kAllow}));
  EXPECT_FALSE(valid(Program{jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), kAllow}));
  EXPECT_FALSE(valid(Program{jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), kAllow}));
  EXPECT_FALSE(valid(Program{stmt(0xffff, 0), kAllow}));
  EXPECT_FALSE(valid(Program(kMaxInsns + 1, kAllow)));
  EXPECT_TRUE(valid(Program(kMaxInsns, kAllow)));
}

TEST(BpfValid, AWordMustBeWrittenOnEveryPath) {
  const Insn branch = jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
  EXPECT_FALSE(valid(Program{branch, stmt(BPF_ST, 1), stmt(BPF_LD | BPF_MEM, 1), kAllow}));
  EXPECT_TRUE(valid(Program{stmt(BPF_ST, 1), branch, stmt(BPF_ST, 2), stmt(BPF_LD | BPF_MEM, 1), kAllow}));
}

/// What this host's kernel says of a program: 0, or the errno of installing it, in a child.
int kernel_says(const Program& p) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sock_fprog header{static_cast<unsigned short>(p.size()),
                      reinterpret_cast<sock_filter*>(const_cast<Insn*>(p.data()))};
    const long rc = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &header);
    ::_exit(rc == 0 ? 0 : errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Random programs, made of valid and nearly valid instructions: the kernel and valid() must agree on each.
// All of them return SECCOMP_RET_ALLOW wherever they end, so that installing one is harmless.
TEST(BpfValid, AgreesWithTheKernel) {
  if (kernel_says({kAllow}) != 0) GTEST_SKIP() << "this kernel lets nobody install a filter";
  constexpr std::array<unsigned, 26> kCodes{BPF_LD | BPF_W | BPF_ABS,
                                            BPF_LD | BPF_IMM,
                                            BPF_LD | BPF_MEM,
                                            BPF_LDX | BPF_MEM,
                                            BPF_LDX | BPF_IMM,
                                            BPF_ST,
                                            BPF_STX,
                                            BPF_ALU | BPF_ADD | BPF_K,
                                            BPF_ALU | BPF_LSH | BPF_K,
                                            BPF_ALU | BPF_RSH | BPF_X,
                                            BPF_ALU | BPF_AND | BPF_X,
                                            BPF_ALU | BPF_NEG,
                                            BPF_JMP | BPF_JA,
                                            BPF_JMP | BPF_JEQ | BPF_K,
                                            BPF_JMP | BPF_JGT | BPF_X,
                                            BPF_JMP | BPF_JSET | BPF_K,
                                            BPF_JMP | BPF_JGE | BPF_X,
                                            BPF_MISC | BPF_TAX,
                                            BPF_MISC | BPF_TXA,
                                            BPF_LD | BPF_W | BPF_LEN,
                                            BPF_LDX | BPF_W | BPF_LEN,
                                            BPF_ALU | BPF_MUL | BPF_K,
                                            BPF_ALU | BPF_XOR | BPF_X,
                                            BPF_ALU | BPF_OR | BPF_K,
                                            BPF_ALU | BPF_SUB | BPF_X,
                                            BPF_RET | BPF_K};
  std::mt19937 random(20240229);  // NOLINT: the same programs every time
  const auto below = [&random](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  int accepted = 0;
  for (int round = 0; round < 400; ++round) {
    Program p;
    const std::uint32_t length = 1 + below(7);
    for (std::uint32_t i = 0; i < length; ++i) {
      const unsigned code = kCodes[below(kCodes.size())];
      Insn insn = jump(code, below(3), below(3), below(3));
      if (code == (BPF_LD | BPF_W | BPF_ABS)) insn.k = below(40) == 0 ? below(70) : below(16) * 4;
      if (code == (BPF_ALU | BPF_LSH | BPF_K)) insn.k = below(36);
      if (code == (BPF_RET | BPF_K)) insn.k = SECCOMP_RET_ALLOW;
      p.push_back(insn);
    }
    if (below(20) != 0) p.push_back(kAllow);
    const int error = kernel_says(p);
    ASSERT_EQ(valid(p), error == 0) << "round " << round << ", kernel errno " << error;
    accepted += error == 0 ? 1 : 0;
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 350);
}

}  // namespace
}  // namespace hpcvmm::deputy::bpf
