// Goal: lines read as strace's do.  Method: expected strings; those marked (s) were compared with strace 6.1.
#include "vmm/sys/trace.hh"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>

#include "vmm/sys/call.hh"
#include "vmm/sys/test_gate.hh"

namespace hpcvmm::sys {
namespace {

using test::kFake;
using test::word;

std::string line(Call call, const Args& args, SysRet ret, Abi abi = Abi::X64) {
  std::string out;
  const Row& row = row_of(call);
  const unsigned next = format_call(out, row, abi, args, kFake);
  format_result(out, row, abi, args, kFake, ret, next);
  return out;
}
constexpr std::uint64_t kCwd = static_cast<std::uint32_t>(AT_FDCWD);

TEST(Trace, PathsFlagsAndErrors) {
  const char* path = "/etc/ld.so.preload";
  EXPECT_EQ(line(Call::access, {word(path), R_OK}, SysRet::fail(ENOENT)),
            "access(\"/etc/ld.so.preload\", R_OK)      = -1 ENOENT (No such file or directory)");  // (s)
  EXPECT_EQ(line(Call::openat, {kCwd, word(path), O_RDONLY | O_CLOEXEC, 0777}, SysRet::ok(3)),
            "openat(AT_FDCWD, \"/etc/ld.so.preload\", O_RDONLY|O_CLOEXEC) = 3");  // (s)
  EXPECT_EQ(line(Call::openat, {kCwd, word("x"), O_WRONLY | O_CREAT | O_TRUNC, 0644}, SysRet::ok(3)),
            "openat(AT_FDCWD, \"x\", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 3");  // (s)
  EXPECT_EQ(line(Call::chmod, {word("x"), 0}, SysRet::ok()),
            "chmod(\"x\", 000)                         = 0");  // (s)
  EXPECT_EQ(line(Call::umask, {022}, SysRet::ok(2)), "umask(022)                              = 002");
}

TEST(Trace, OutArgumentsComeWithTheResult) {
  char buf[] = "hello\n\1\0011\377\"\\world, this is a longer text";
  std::string out;
  const Row& row = row_of(Call::read);
  const Args a{3, word(buf), 832};
  const unsigned next = format_call(out, row, Abi::X64, a, kFake);
  EXPECT_EQ(out, "read(3, ");
  EXPECT_EQ(next, 1U);
  format_result(out, row, Abi::X64, a, kFake, SysRet::ok(11), next);
  EXPECT_EQ(out, "read(3, \"hello\\n\\1\\0011\\377\\\"\", 832)    = 11");
  EXPECT_EQ(line(Call::read, a, SysRet::ok(40)),
            "read(3, \"hello\\n\\1\\0011\\377\\\"\\\\world, this is a lon\"..., 832) = 40");
  EXPECT_EQ(line(Call::read, {3, 0x1000, 8}, SysRet::fail(EBADF)),
            "read(3, 0x1000, 8)                      = -1 EBADF (Bad file descriptor)");
  EXPECT_EQ(line(Call::write, {1, word("hi\n"), 3}, SysRet::ok(3)),
            "write(1, \"hi\\n\", 3)                     = 3");
}

TEST(Trace, MemoryCallsAreHex) {
  EXPECT_EQ(
      line(Call::mmap, {0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0},
           SysRet::ok(0x7f0000001000)),
      "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000001000");  // (s)
  EXPECT_EQ(
      line(Call::mmap, {0x1000, 4096, 0, MAP_SHARED | MAP_FIXED, 3, 0x2000}, SysRet::fail(ENOMEM)),
      "mmap(0x1000, 4096, PROT_NONE, MAP_SHARED|MAP_FIXED, 3, 0x2000) = -1 ENOMEM (Cannot allocate memory)");
  EXPECT_EQ(line(Call::brk, {0}, SysRet::ok(0x55550000)),
            "brk(NULL)                               = 0x55550000");  // (s)
  EXPECT_EQ(line(Call::mmap2, {0, 4096, 1, 0x22, ~0ULL, 0}, SysRet::raw(-4096 * 2), Abi::Ia32),
            "mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0xffffe000");
}

TEST(Trace, Restarts) {
  EXPECT_EQ(line(Call::wait4, {~0ULL, 0, 0, 0}, SysRet::restart()),
            "wait4(-1, NULL, 0, NULL)                = ? ERESTARTSYS (To be restarted if SA_RESTART is set)");
  EXPECT_EQ(
      line(Call::pause, {}, SysRet::restart()),
      "pause()                                 = ? ERESTARTNOHAND (To be restarted if no handler)");  // (s)
  std::string out;
  (void)format_call(out, row_of(Call::exit_group), Abi::X64, {0}, kFake);
  format_no_result(out);
  EXPECT_EQ(out, "exit_group(0)                           = ?");  // (s)
}

TEST(Trace, Structures) {
  struct stat st {};
  st.st_mode = S_IFREG | 0644;
  st.st_size = 1234;
  EXPECT_EQ(line(Call::newfstatat, {3, word(""), word(&st), AT_EMPTY_PATH}, SysRet::ok()),
            "newfstatat(3, \"\", {st_mode=S_IFREG|0644, st_size=1234, ...}, AT_EMPTY_PATH) = 0");  // (s)
  st.st_mode = S_IFCHR | 0620;
  st.st_rdev = 0x8801;
  EXPECT_EQ(line(Call::fstat, {1, word(&st)}, SysRet::ok()),
            "fstat(1, {st_mode=S_IFCHR|0620, st_rdev=makedev(0x88, 0x1), ...}) = 0");  // (s)
  const timespec ts{1, 500};
  EXPECT_EQ(line(Call::nanosleep, {word(&ts), 0}, SysRet::ok()),
            "nanosleep({tv_sec=1, tv_nsec=500}, NULL) = 0");  // (s)
  const std::uint64_t action[4] = {1, SA_RESTART | 0x04000000, 0x7000, 1U << 1U};
  EXPECT_EQ(line(Call::rt_sigaction, {SIGINT, word(action), 0, 8}, SysRet::ok()),
            "rt_sigaction(SIGINT, {sa_handler=SIG_IGN, sa_mask=[INT], sa_flags=SA_RESTORER|SA_RESTART, "
            "sa_restorer=0x7000}, NULL, 8) = 0");  // (s)
  const std::uint64_t set = 1U << (SIGCHLD - 1);
  const std::uint64_t many = ~0x1'8000'0000ULL;
  EXPECT_EQ(line(Call::rt_sigprocmask, {SIG_BLOCK, word(&set), word(&many), 8}, SysRet::ok()),
            "rt_sigprocmask(SIG_BLOCK, [CHLD], ~[RTMIN RT_1], 8) = 0");  // (s)
  const int status = 3 << 8;
  EXPECT_EQ(line(Call::wait4, {~0ULL, word(&status), 0, 0}, SysRet::ok(77)),
            "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 77");  // (s)
  const std::uint64_t limit[2] = {8192 * 1024, ~0ULL};
  EXPECT_EQ(line(Call::prlimit64, {0, 3, 0, word(limit)}, SysRet::ok()),
            "prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0");  // (s)
  const int fds[2] = {3, 4};
  EXPECT_EQ(line(Call::pipe2, {word(fds), O_CLOEXEC}, SysRet::ok()),
            "pipe2([3, 4], O_CLOEXEC)                = 0");
}

TEST(Trace, Sockets) {
  EXPECT_EQ(line(Call::socket, {AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0}, SysRet::ok(3)),
            "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3");  // (s)
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(80);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(line(Call::connect, {3, word(&in), sizeof in}, SysRet::fail(ECONNREFUSED)),
            "connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = -1 "
            "ECONNREFUSED (Connection refused)");  // (s)
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  std::strcpy(un.sun_path, "/run/x");
  EXPECT_EQ(line(Call::connect, {3, word(&un), sizeof un}, SysRet::ok()),
            "connect(3, {sa_family=AF_UNIX, sun_path=\"/run/x\"}, 110) = 0");  // (s)
  char text[] = "hello";
  iovec iov{text, 5};
  EXPECT_EQ(line(Call::writev, {1, word(&iov), 1}, SysRet::ok(5)),
            "writev(1, [{iov_base=\"hello\", iov_len=5}], 1) = 5");  // (s)
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  EXPECT_EQ(
      line(Call::sendmsg, {3, word(&m), MSG_NOSIGNAL}, SysRet::ok(5)),
      "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"hello\", iov_len=5}], msg_iovlen=1, "
      "msg_controllen=0, msg_flags=0}, MSG_NOSIGNAL) = 5");  // (s)
}

TEST(Trace, Commands) {
  EXPECT_EQ(line(Call::fcntl, {1, F_SETFD, FD_CLOEXEC}, SysRet::ok()),
            "fcntl(1, F_SETFD, FD_CLOEXEC)           = 0");
  EXPECT_EQ(line(Call::fcntl, {1, F_GETFL}, SysRet::ok(0x8002)),
            "fcntl(1, F_GETFL)                       = 0x8002 (flags O_RDWR|O_LARGEFILE)");
  const std::uint16_t size[4] = {24, 80, 0, 0};
  EXPECT_EQ(line(Call::ioctl, {1, 0x5413, word(size)}, SysRet::ok()),
            "ioctl(1, TIOCGWINSZ, {ws_row=24, ws_col=80, ws_xpixel=0, ws_ypixel=0}) = 0");
  EXPECT_EQ(line(Call::futex, {0x1000, 129, 1, 0x55, 0x66}, SysRet::ok(1)),
            "futex(0x1000, FUTEX_WAKE_PRIVATE, 1)    = 1");  // (s)
  EXPECT_EQ(line(Call::clone, {0x01200011, 0, 0, 0x7000, 0}, SysRet::ok(9)),
            "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, "
            "child_tidptr=0x7000) = 9");
  const char* argv[] = {"true", "a b", nullptr};
  const char* envp[] = {"A=1", "B=2", nullptr};
  std::string out;
  (void)format_call(out, row_of(Call::execve), Abi::X64, {word("/bin/true"), word(argv), word(envp)}, kFake);
  EXPECT_TRUE(out.starts_with("execve(\"/bin/true\", [\"true\", \"a b\"], 0x")) << out;
  EXPECT_TRUE(out.ends_with(" /* 2 vars */")) << out;
  EXPECT_EQ(line(Call::kill, {~0ULL, SIGTERM}, SysRet::ok()), "kill(-1, SIGTERM)                       = 0");
  EXPECT_EQ(line(Call::tgkill, {1, 1, 34}, SysRet::ok()), "tgkill(1, 1, SIGRT_2)                   = 0");
}

TEST(Trace, Ia32Layouts) {
  const std::int32_t ts[2] = {2, 7};
  EXPECT_EQ(line(Call::pread64, {3, 0x1000, 8, 1, 1}, SysRet::fail(EBADF), Abi::Ia32),
            "pread64(3, 0x1000, 8, 4294967297)       = -1 EBADF (Bad file descriptor)");
  void* low = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  ASSERT_NE(low, MAP_FAILED);
  std::memcpy(low, ts, sizeof ts);
  EXPECT_EQ(line(Call::nanosleep, {word(low), 0}, SysRet::ok(), Abi::Ia32),
            "nanosleep({tv_sec=2, tv_nsec=7}, NULL)  = 0");
  ::munmap(low, 4096);
}

// Whatever the words are: no crash, and the name stands in front.
TEST(Trace, RubbishIsPrintedAsWords) {
  for (std::uint32_t nr = 0; nr < 512; ++nr) {
    for (const Abi abi : {Abi::X64, Abi::Ia32}) {
      const Row* row = find_row(abi, nr);
      if (row == nullptr) continue;
      for (const std::uint64_t v : {0ULL, 1ULL, 0xffff'ffffULL, ~0ULL, 0x6a80'0000'1000ULL}) {
        const Args a{v, v, v, v, v, v};
        for (const SysRet r : {SysRet::ok(1), SysRet::fail(EPERM), SysRet::restart()}) {
          std::string out;
          const unsigned next = format_call(out, *row, abi, a, kFake);
          format_result(out, *row, abi, a, kFake, r, next);
          EXPECT_TRUE(out.starts_with(std::string(row->name) + "(")) << out;
          EXPECT_LT(out.size(), 4096U);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hpcvmm::sys
