// Goal: the stack's bytes stand where Linux puts them, and execve's size limits are Linux's.  How a whole
// stack compares with the kernel's is in loader_test.cc, where real programs run on it.
#include "vmm/load/stack.hh"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <map>
#include <string>

#include "hpcvmm/base/layout.hh"
#include "vmm/load/load_testing.hh"
#include "vmm/load/regs.hh"

namespace hpcvmm::load {
namespace {

using Views = std::vector<std::string_view>;

class Reader {
 public:
  Reader(const StackImage& image, std::uint64_t top, std::uint64_t word)
      : image_(image), top_(top), word_(word) {}
  [[nodiscard]] std::uint64_t word(std::uint64_t address) const {
    std::uint64_t value = 0;
    std::memcpy(&value, at(address, word_), word_);
    return value;
  }
  [[nodiscard]] std::string text(std::uint64_t address) const {
    return reinterpret_cast<const char*>(at(address, 1));
  }

 private:
  [[nodiscard]] const std::byte* at(std::uint64_t address, std::uint64_t bytes) const {
    EXPECT_GE(address, image_.sp);
    EXPECT_LE(address + bytes, top_);
    return image_.bytes.data() + (address - image_.sp);
  }
  const StackImage& image_;
  std::uint64_t top_, word_;
};

StackInput sample(Abi abi) {
  static const Views argv = {"prog", "", "three"};
  static const Views envp = {"A=1", "B=22"};
  StackInput in;
  in.abi = abi;
  in.top = abi == Abi::X64 ? 0x7fff'1234'5000 : 0xffaa'b000;
  in.execfn = "/bin/prog";
  in.argv = argv;
  in.envp = envp;
  in.phdr = 0x40'0040;
  in.phnum = 9;
  in.program_entry = 0x40'1000;
  in.random.fill(std::byte{0x5a});
  in.host = {0x178bfbff, 2, 3376, 100};
  return in;
}

class BothAbis : public ::testing::TestWithParam<Abi> {};

TEST_P(BothAbis, Layout) {
  StackInput in = sample(GetParam());
  const std::uint64_t word = in.abi == Abi::X64 ? 8 : 4;
  for (const std::uint32_t shift : {0U, 1U, 16U, 8191U}) {
    in.shift_bytes = shift;
    const StackImage image = build_stack(in);
    ASSERT_EQ(image.bytes.size(), in.top - image.sp);
    EXPECT_EQ(image.sp % 16, 0U);
    const Reader stack(image, in.top, word);
    EXPECT_EQ(stack.word(image.sp), 3U);
    std::uint64_t at = image.sp + word;
    EXPECT_EQ(stack.word(at), image.arg_start);
    for (const std::string_view s : in.argv) EXPECT_EQ(stack.text(stack.word((at += word) - word)), s);
    EXPECT_EQ(stack.word((at += word) - word), 0U);
    EXPECT_EQ(stack.word(at), image.env_start);
    for (const std::string_view s : in.envp) EXPECT_EQ(stack.text(stack.word((at += word) - word)), s);
    EXPECT_EQ(stack.word((at += word) - word), 0U);
    EXPECT_EQ(at, image.auxv);
    EXPECT_EQ(image.arg_end, image.arg_start + 12);
    EXPECT_EQ(image.env_start, image.arg_end);
    EXPECT_EQ(image.env_end, image.env_start + 9);
    EXPECT_EQ(image.execfn, image.env_end);
    EXPECT_EQ(stack.text(image.execfn), in.execfn);
    EXPECT_EQ(image.execfn + 10, in.top - 8);
    EXPECT_EQ(stack.word(in.top - 8), 0U);
  }
}

TEST_P(BothAbis, AuxiliaryVector) {
  StackInput in = sample(GetParam());
  const bool wide = in.abi == Abi::X64;
  const std::uint64_t word = wide ? 8 : 4;
  in.vdso = 0xf7f0'0000;
  in.vsyscall = 0xf7f0'0400;
  in.uid = 1;
  in.euid = 2;
  in.gid = 3;
  in.egid = 4;
  in.secure = true;
  const StackImage image = build_stack(in);
  const Reader stack(image, in.top, word);
  std::vector<std::uint64_t> types;
  std::map<std::uint64_t, std::uint64_t> values;
  std::uint64_t at = image.auxv;
  for (; types.empty() || types.back() != AT_NULL; at += 2 * word) {
    types.push_back(stack.word(at));
    values[types.back()] = stack.word(at + word);
  }
  EXPECT_EQ(at, image.auxv + image.auxv_bytes);
  EXPECT_EQ(values[AT_SYSINFO_EHDR], in.vdso);
  EXPECT_EQ(values[AT_PHENT], wide ? 56U : 32U);
  EXPECT_EQ(values[AT_PHDR], 0x40'0040U);
  EXPECT_EQ(values[AT_PHNUM], 9U);
  EXPECT_EQ(values[AT_ENTRY], 0x40'1000U);
  EXPECT_EQ(values[AT_UID], 1U);
  EXPECT_EQ(values[AT_EUID], 2U);
  EXPECT_EQ(values[AT_GID], 3U);
  EXPECT_EQ(values[AT_EGID], 4U);
  EXPECT_EQ(values[AT_SECURE], 1U);
  EXPECT_EQ(values[AT_EXECFN], image.execfn);
  EXPECT_EQ(stack.text(values[AT_PLATFORM]), wide ? "x86_64" : "i686");
  EXPECT_EQ(stack.text(values[AT_RANDOM]).substr(0, 16), std::string(16, 0x5a));
  EXPECT_EQ(types[0], wide ? AT_SYSINFO_EHDR : AT_SYSINFO);
  EXPECT_EQ(types.size(), wide ? 21U : 22U);
}

INSTANTIATE_TEST_SUITE_P(Stack, BothAbis, ::testing::Values(Abi::X64, Abi::Ia32));

TEST(Stack, Registers) {
  const GuestRegs wide = initial_regs(Abi::X64, 0x1000, 0x2000);
  EXPECT_EQ(wide.rip, 0x1000U);
  EXPECT_EQ(wide.rsp, 0x2000U);
  EXPECT_EQ(wide.cs, 0x33);
  EXPECT_EQ(wide.ss, 0x2b);
  EXPECT_EQ(wide.ds | wide.es | wide.fs | wide.gs, 0);
  EXPECT_EQ(wide.rax | wide.rdx | wide.rbp | wide.r15 | wide.fs_base, 0U);
  const GuestRegs narrow = initial_regs(Abi::Ia32, 0x1000, 0x2000);
  EXPECT_EQ(narrow.cs, 0x23);
  EXPECT_EQ(narrow.ds & narrow.es & narrow.ss, 0x2b);
  EXPECT_EQ(narrow.rflags, 0x202U);
}

int native_limit(const std::vector<std::string>& argv, std::uint64_t stack_rlimit) {
  return testing::run_child([&](int error_fd) {
           const rlimit limit{stack_rlimit, RLIM_INFINITY};
           ::setrlimit(RLIMIT_STACK, &limit);
           char* const envp[] = {nullptr};
           ::execve("/bin/true", testing::pointers(argv).data(), envp);
           testing::report(error_fd, errno);
         })
      .error;
}

// Each limit is met exactly, and passed by one byte, against the host's execve.
TEST(Stack, SizeLimitsAgreeWithTheKernel) {
  const auto expect_same = [](const std::vector<std::string>& argv, std::uint64_t rlimit, int expected) {
    const Views views(argv.begin(), argv.end());
    const int native = native_limit(argv, rlimit);
    EXPECT_EQ(native, expected) << argv.size() << " strings, last " << argv.back().size() << ", limit "
                                << rlimit;
    EXPECT_EQ(check_arg_limits("/bin/true", views, {}, argv.size(), rlimit).error, native);
  };
  const std::uint64_t standard = 8 << 20;
  expect_same({"x"}, standard, 0);
  expect_same({"x", std::string(131071, 'a')}, standard, 0);
  expect_same({"x", std::string(131072, 'a')}, standard, E2BIG);
  // `strings` of 128 KiB each and one that fills the rest of `limit` bytes, `extra` more or less.
  const auto filled = [](std::uint64_t limit, std::int64_t extra) {
    std::vector<std::string> argv;
    std::uint64_t left = limit - sizeof "/bin/true";
    for (; left > 131072 + 8; left -= 131072 + 8) argv.emplace_back(131071, 'a');
    argv.emplace_back(static_cast<std::size_t>(static_cast<std::int64_t>(left - 8 - 1) + extra), 'b');
    return argv;
  };
  const std::uint64_t two_mib = 2 << 20;
  const std::uint64_t six_mib = 6 << 20;
  expect_same(filled(two_mib, 0), standard, 0);
  expect_same(filled(two_mib, 1), standard, E2BIG);
  expect_same(filled(128 << 10, 0), 256 << 10, 0);
  expect_same(filled(128 << 10, 1), 256 << 10, E2BIG);
  expect_same(filled(six_mib, 0), RLIM_INFINITY, 0);
  expect_same(filled(six_mib, 1), RLIM_INFINITY, E2BIG);
}

}  // namespace
}  // namespace hpcvmm::load
