// Goal: the rows say what Linux says.  Method: against the kernel's headers and well-known prototypes.
#include "vmm/sys/table.hh"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace hpcvmm::sys {
namespace {

TEST(Table, FindsRowsByNumber) {
  EXPECT_STREQ(find_row(Abi::X64, 0)->name, "read");
  EXPECT_STREQ(find_row(Abi::Ia32, 3)->name, "read");
  EXPECT_EQ(find_row(Abi::Ia32, 3), find_row(Abi::X64, 0));
  EXPECT_EQ(find_row(Abi::X64, 462)->call, Call::mseal);
  EXPECT_EQ(find_row(Abi::Ia32, 17)->call, Call::break_);
  EXPECT_STREQ(find_row(Abi::Ia32, 17)->name, "break");
  EXPECT_EQ(find_row(Abi::Ia32, 90)->call, Call::old_mmap);
  EXPECT_EQ(find_row(Abi::X64, 9)->call, Call::mmap);
}

TEST(Table, UnknownNumbersHaveNoRow) {
  EXPECT_EQ(find_row(Abi::X64, 337), nullptr);  // first of the hole
  EXPECT_EQ(find_row(Abi::X64, 512), nullptr);  // x32
  EXPECT_EQ(find_row(Abi::X64, 0x4000'0000U), nullptr);
  EXPECT_EQ(find_row(Abi::X64, 0xffff'ffffU), nullptr);
  EXPECT_EQ(find_row(Abi::Ia32, 222), nullptr);
  EXPECT_EQ(find_row(Abi::Ia32, 100'000), nullptr);
}

TEST(Table, FindsRowsByName) {
  EXPECT_EQ(find_row("openat")->nr64, 257);
  EXPECT_EQ(find_row("no_such_call"), nullptr);
  for (const Row& r : kRows) EXPECT_EQ(&row_of(r.call), &r);
}

// Every number of the header has a row of that name.
void expect_complete(Abi abi, const char* header, int least) {
  std::FILE* f = std::fopen(header, "r");
  if (f == nullptr) GTEST_SKIP() << header << " is not installed (package linux-libc-dev)";
  char line[256];
  int seen = 0;
  while (std::fgets(line, sizeof line, f) != nullptr) {
    char name[128];
    unsigned nr = 0;
    if (std::sscanf(line, "#define __NR_%127s %u", name, &nr) != 2) continue;
    ++seen;
    const Row* r = find_row(abi, nr);
    ASSERT_NE(r, nullptr) << name << " " << nr;
    EXPECT_STREQ(r->name, name);
  }
  (void)std::fclose(f);
  EXPECT_GE(seen, least);
}
TEST(Table, HasEveryNumberOfTheHeader64) {
  expect_complete(Abi::X64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 362);
}
TEST(Table, HasEveryNumberOfTheHeader32) {
  expect_complete(Abi::Ia32, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h", 440);
}

// One letter per argument: f descriptor, s path or string, p other pointer, w plain word.
std::string sketch(const Row& r) {
  std::string s;
  for (unsigned i = 0; i < shape_of(r).count; ++i) {
    const ArgKind k = r.args[i].kind;
    if (k == ArgKind::Fd || k == ArgKind::DirFd) {
      s += 'f';
    } else if (k == ArgKind::Path || k == ArgKind::String) {
      s += 's';
    } else {
      s += is_pointer(k) ? 'p' : 'w';
    }
  }
  return s;
}
TEST(Table, ArgumentsAreThoseOfThePrototypes) {
  const std::vector<std::pair<const char*, const char*>> known = {
      {"read", "fpw"},
      {"write", "fpw"},
      {"open", "sww"},
      {"close", "f"},
      {"stat", "sp"},
      {"fstat", "fp"},
      {"poll", "pww"},
      {"lseek", "fww"},
      {"mmap", "pwwwfw"},
      {"mprotect", "pww"},
      {"munmap", "pw"},
      {"brk", "p"},
      {"rt_sigaction", "wppw"},
      {"rt_sigprocmask", "wppw"},
      {"ioctl", "fwp"},
      {"pread64", "fpww"},
      {"readv", "fpw"},
      {"access", "sw"},
      {"pipe", "p"},
      {"select", "wpppp"},
      {"mremap", "pwwwp"},
      {"mincore", "pwp"},
      {"dup2", "ff"},
      {"nanosleep", "pp"},
      {"setitimer", "wpp"},
      {"sendfile", "ffpw"},
      {"connect", "fpw"},
      {"accept", "fpp"},
      {"sendto", "fpwwpw"},
      {"recvfrom", "fpwwpp"},
      {"sendmsg", "fpw"},
      {"getsockopt", "fwwpp"},
      {"setsockopt", "fwwpw"},
      {"socketpair", "wwwp"},
      {"clone", "wpppw"},
      {"execve", "spp"},
      {"wait4", "wpwp"},
      {"uname", "p"},
      {"semop", "wpw"},
      {"semctl", "wwwp"},
      {"msgrcv", "wpwww"},
      {"fcntl", "fwp"},
      {"getcwd", "pw"},
      {"rename", "ss"},
      {"readlink", "spw"},
      {"getgroups", "wp"},
      {"rt_sigtimedwait", "pppw"},
      {"utime", "sp"},
      {"prctl", "wpppp"},
      {"mount", "ssswp"},
      {"setxattr", "sspww"},
      {"futex", "pwwppw"},
      {"epoll_ctl", "fwfp"},
      {"epoll_wait", "fpww"},
      {"mq_timedsend", "fpwwp"},
      {"waitid", "wwpwp"},
      {"openat", "fsww"},
      {"linkat", "fsfsw"},
      {"ppoll", "pwppw"},
      {"pselect6", "wppppp"},
      {"splice", "fpfpww"},
      {"utimensat", "fspw"},
      {"epoll_pwait", "fpwwpw"},
      {"accept4", "fppw"},
      {"recvmmsg", "fpwwp"},
      {"prlimit64", "wwpp"},
      {"process_vm_readv", "wpwpww"},
      {"getrandom", "pww"},
      {"copy_file_range", "fpfpww"},
      {"preadv2", "fpwwww"},
      {"statx", "fswwp"},
      {"clone3", "pw"},
      {"openat2", "fspw"},
      {"futex_waitv", "pwwpw"},
      {"cachestat", "fppw"},
      {"mseal", "pww"},
      {"name_to_handle_at", "fsppw"},
      {"sched_setattr", "wpw"},
      {"timer_create", "wpp"},
      {"capget", "pp"},
  };
  for (const auto& [name, args] : known) {
    ASSERT_NE(find_row(name), nullptr) << name;
    EXPECT_EQ(sketch(*find_row(name)), args) << name;
  }
}

TEST(Table, Ia32WordsAreJoinedAndExtended) {
  const Args a{3, 0x1000, 8, 0x9000'0000, 1, 0};
  EXPECT_EQ(arg_value(row_of(Call::pread64), Abi::Ia32, a, 3), 0x1'9000'0000U);
  EXPECT_EQ(arg_value(row_of(Call::pread64), Abi::X64, a, 3), 0x9000'0000U);
  EXPECT_EQ(arg_value(row_of(Call::lseek), Abi::Ia32, {3, 0xffff'fffe, 1, 0, 0, 0}, 1), ~1ULL);
  EXPECT_EQ(arg_value(row_of(Call::read), Abi::Ia32, {3, 0xffff'f000, 1, 0, 0, 0}, 1), 0xffff'f000U);
}

TEST(Table, RefusedRowsSayWhy) {
  for (const Row& r : kRows) {
    if (r.support != Support::Full) {
      EXPECT_STRNE(r.note, "") << r.name;
    }
    if (r.support == Support::None) {
      EXPECT_EQ(r.runs, Runs::Vmm) << r.name;
    }
    if (r.runs == Runs::Local) {
      EXPECT_EQ(r.mobility, Mobility::Free) << r.name;
    }
  }
}

}  // namespace
}  // namespace hpcvmm::sys
