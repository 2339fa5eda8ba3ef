#include "vmm/gdb/session.hh"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <random>

#include "vmm/gdb/breakpoints.hh"

namespace hpcvmm::gdb {
namespace {

constexpr std::uint64_t kBase = 0x1000;

class Bytes final : public Memory {
 public:
  std::string data = std::string(256, 'A');
  std::size_t read(std::uint64_t at, void* to, std::size_t bytes) override {
    if (at < kBase || at - kBase >= data.size()) return 0;
    const std::size_t n = std::min(bytes, data.size() - (at - kBase));
    std::memcpy(to, data.data() + (at - kBase), n);
    return n;
  }
  bool write(std::uint64_t at, const void* from, std::size_t bytes) override {
    if (at < kBase || at - kBase > data.size() || bytes > data.size() - (at - kBase)) return false;
    std::memcpy(data.data() + (at - kBase), from, bytes);
    return true;
  }
};

class FakeTarget final : public Target {
 public:
  Bytes memory;
  Breakpoints breakpoints{memory};
  RegisterFile file;
  std::uint64_t passed = 0;
  FakeTarget() { file.regs.cs = kUserCs64, file.regs.ss = kUserDs; }
  [[nodiscard]] Abi abi() const override { return Abi::X64; }
  [[nodiscard]] std::string_view exe() const override { return "/bin/true"; }
  [[nodiscard]] std::string_view auxv() const override { return "auxv"; }
  [[nodiscard]] int pid() const override { return 10; }
  std::vector<int> threads() override { return {10, 11}; }
  std::string thread_name(int) override { return "ab"; }
  bool get(int tid, RegisterFile& out) override {
    out = file;
    return tid == 10 || tid == 11;
  }
  bool set(int, const RegisterFile& in) override {
    file = in;
    return true;
  }
  std::size_t read(std::uint64_t at, void* to, std::size_t n) override { return breakpoints.read(at, to, n); }
  bool write(std::uint64_t at, const void* p, std::size_t n) override { return breakpoints.write(at, p, n); }
  bool insert_breakpoint(std::uint64_t at) override { return breakpoints.insert(at); }
  bool remove_breakpoint(std::uint64_t at) override { return breakpoints.remove(at); }
  void pass_signals(std::uint64_t mask) override { passed = mask; }
  std::string siginfo(int tid) override { return tid == 10 ? "info" : ""; }
  Files& files() override { return open_files; }
  Files open_files{nullptr};
};

class SessionTest : public testing::Test {
 protected:
  SessionTest() { static_cast<void>(session.report({Stop::Kind::Signal, 10, SIGTRAP})); }
  std::string ask(std::string_view packet) { return session.handle(packet).body; }
  FakeTarget target;
  Session session{target};
};

TEST_F(SessionTest, StopReplies) {
  EXPECT_EQ(ask("?"), "T05thread:a;");
  EXPECT_EQ(session.report({Stop::Kind::Breakpoint, 11, SIGTRAP}), "T05thread:b;swbreak:;");
  EXPECT_EQ(ask("qC"), "QCb");
  EXPECT_EQ(session.report({Stop::Kind::Signal, 11, SIGSEGV}), "T0bthread:b;");
  EXPECT_EQ(session.report({Stop::Kind::Exited, 0, 3}), "W03");
  EXPECT_EQ(session.report({Stop::Kind::Killed, 0, SIGUSR1}), "X1e");
}

TEST_F(SessionTest, MemoryHidesBreakpoints) {
  EXPECT_EQ(ask("Z0,1001,1"), "OK");
  EXPECT_EQ(target.memory.data[1], '\xcc');
  EXPECT_EQ(ask("m1000,3"), "414141");
  EXPECT_EQ(ask("M1000,3:616263"), "OK");
  EXPECT_EQ(target.memory.data.substr(0, 3),
            "a\xcc"
            "c");
  EXPECT_EQ(ask("z0,1001,1"), "OK");
  EXPECT_EQ(target.memory.data.substr(0, 3), "abc");
  EXPECT_EQ(ask("X1000,2:xy"), "OK");
  EXPECT_EQ(ask("m10fe,8"), "4141");  // to the end of what can be read
  EXPECT_EQ(ask("Z0,5,1"), "E01");
  EXPECT_EQ(ask("Z1,1000,1"), "");
}

TEST_F(SessionTest, BreakpointsLeaveForAVfork) {
  ask("Z0,1001,1");
  target.breakpoints.lift();
  EXPECT_EQ(target.memory.data[1], 'A');
  ask("Z0,1002,1");
  EXPECT_EQ(target.memory.data[2], 'A');
  target.breakpoints.put_back();
  EXPECT_EQ(target.memory.data[1], '\xcc');
  EXPECT_EQ(target.memory.data[2], '\xcc');
  target.breakpoints.clear(target.memory);
  EXPECT_EQ(target.memory.data, std::string(256, 'A'));
}

TEST_F(SessionTest, Resumption) {
  const auto r = session.handle("vCont;s:b;C0b:a;c");
  EXPECT_EQ(r.then, Session::Then::Resume);
  EXPECT_FALSE(r.send);
  ASSERT_EQ(session.actions().size(), 3U);
  EXPECT_TRUE(session.actions()[0].step);
  EXPECT_EQ(session.actions()[0].thread, 11);
  EXPECT_EQ(session.actions()[1].signo, SIGSEGV);
  EXPECT_EQ(session.actions()[2].thread, -1);
  EXPECT_EQ(ask("vCont;s:c"), "E01");  // no such thread: nobody would run
  EXPECT_EQ(ask("vCont;t"), "E01");
  EXPECT_EQ(ask("vCont;q"), "E01");
  EXPECT_EQ(ask("vCont;"), "E01");
  EXPECT_EQ(session.handle("c").then, Session::Then::Resume);
  EXPECT_EQ(session.handle("S05").then, Session::Then::Resume);
  EXPECT_EQ(session.handle("k").then, Session::Then::Kill);
  EXPECT_EQ(session.handle("D").then, Session::Then::Detach);
}

TEST_F(SessionTest, Queries) {
  EXPECT_EQ(ask("qfThreadInfo"), "ma,b");
  EXPECT_EQ(ask("qsThreadInfo"), "l");
  EXPECT_EQ(ask("qThreadExtraInfo,a"), "6162");
  EXPECT_EQ(ask("qXfer:exec-file:read:a:0,100"), "l/bin/true");
  EXPECT_EQ(ask("qXfer:auxv:read::1,2"), "mux");
  EXPECT_EQ(ask("qXfer:features:read:target.xml:0,20").substr(0, 6), "m<?xml");
  EXPECT_EQ(ask("qXfer:features:read:other.xml:0,20"), "E00");
  EXPECT_EQ(ask("vMustReplyEmpty"), "");
  EXPECT_EQ(ask("QPassSignals:e;1e"), "OK");
  EXPECT_EQ(target.passed, std::uint64_t{1} << (SIGALRM - 1) | std::uint64_t{1} << (SIGUSR1 - 1));
  EXPECT_EQ(ask("Hgb"), "OK");
  EXPECT_EQ(ask("Hg33"), "E01");
  EXPECT_EQ(ask("Tb"), "OK");
  EXPECT_EQ(ask("T33"), "E01");
}

TEST_F(SessionTest, IdsWithPids) {
  EXPECT_EQ(ask("qSupported:swbreak+").find("multiprocess"), std::string::npos);
  EXPECT_NE(ask("qSupported:multiprocess+;swbreak+").find(";multiprocess+"), std::string::npos);
  EXPECT_EQ(ask("?"), "T05thread:pa.a;");
  EXPECT_EQ(ask("qfThreadInfo"), "mpa.a,pa.b");
  EXPECT_EQ(ask("Hgpa.b"), "OK");
  EXPECT_EQ(ask("qC"), "QCpa.b");
  EXPECT_EQ(ask("Hcpa.-1"), "OK");
  EXPECT_EQ(session.handle("vCont;s:pa.b;c:pa.-1").then, Session::Then::Resume);
  EXPECT_EQ(session.actions()[0].thread, 11);
  EXPECT_EQ(session.actions()[1].thread, -1);
  EXPECT_EQ(session.handle("D;a").then, Session::Then::Detach);
  EXPECT_EQ(session.report({Stop::Kind::Exited, 0, 3}), "W03;process:a");
}

TEST_F(SessionTest, SiginfoOfTheCurrentThread) {
  EXPECT_EQ(ask("qXfer:siginfo:read::0,40"), "linfo");
  EXPECT_EQ(ask("Hgb"), "OK");
  EXPECT_EQ(ask("qXfer:siginfo:read::0,40"), "E01");
}

TEST_F(SessionTest, FilesAreRead) {
  const std::string self = to_hex("/proc/self/cmdline");
  EXPECT_EQ(ask("vFile:setfs:0"), "F0");
  EXPECT_EQ(ask("vFile:open:" + self + ",0,0"), "F0");
  EXPECT_EQ(ask("vFile:open:" + self + ",1,0"), "F-1,d");  // for writing
  EXPECT_EQ(ask("vFile:pread:0,1,0").substr(0, 3), "F1;");
  EXPECT_EQ(ask("vFile:fstat:0").substr(0, 4), "F40;");
  EXPECT_EQ(ask("vFile:fstat:0").size(), 4U + 64U);
  EXPECT_EQ(ask("vFile:close:0"), "F0");
  EXPECT_EQ(ask("vFile:close:0"), "F-1,9");
  EXPECT_EQ(ask("vFile:pread:ffffffff,1,0"), "F-1,9");
  EXPECT_EQ(ask("vFile:open:" + to_hex("/no/such/file") + ",0,0"), "F-1,2");
  EXPECT_EQ(ask("vFile:open:zz,0,0"), "E01");
  EXPECT_EQ(ask("vFile:pread:0,1"), "E01");
  EXPECT_EQ(ask("vFile:unlink:00"), "");
  for (int i = 0; i < 64; ++i) ask("vFile:open:" + self + ",0,0");
  EXPECT_EQ(ask("vFile:open:" + self + ",0,0"), "F-1,18");  // no more handles
  target.open_files.close_all();
}

TEST_F(SessionTest, RegistersThereAndBack) {
  const std::string all = ask("g");
  EXPECT_EQ(all.size(), file_bytes(Abi::X64) * 2);
  EXPECT_EQ(ask("G" + all), "OK");
  EXPECT_EQ(ask("P10=8877665544332211"), "OK");
  EXPECT_EQ(target.file.regs.rip, 0x1122'3344'5566'7788U);
  EXPECT_EQ(ask("p10"), "8877665544332211");
}

TEST_F(SessionTest, MalformedIsRefused) {
  for (const char* p : {"m",
                        "m1000",
                        "m1000,",
                        "m1000,1x",
                        "m1,1",
                        "mfffffffffffffffff,1",
                        "M1000,2:41",
                        "M1000,1:4",
                        "M1000,1:zz",
                        "X1000,5:ab",
                        "X1000",
                        "Mffffffffffffffff,2:4141",
                        "p",
                        "pzz",
                        "pffffffff",
                        "p99",
                        "P",
                        "P0",
                        "P0=",
                        "P0=12",
                        "P0=zzzzzzzzzzzzzzzz",
                        "G",
                        "G00",
                        "Z0",
                        "Z0,",
                        "Z0,zz,1",
                        "Z0,1000",
                        "H",
                        "Hx1",
                        "Hg",
                        "T",
                        "qThreadExtraInfo,",
                        "qThreadExtraInfo,zz",
                        "qXfer:auxv:read::",
                        "qXfer:auxv:read::0",
                        "qXfer:auxv:read::5,1",
                        "Cxx",
                        "C",
                        "c1000",
                        "QPassSignals:x",
                        "QPassSignals:1x"})
    EXPECT_EQ(ask(p), "E01") << p;
}

TEST_F(SessionTest, HugeReadIsCut) {
  const std::string reply = ask("m1000,ffffffffffffffff");
  EXPECT_EQ(reply.size(), 512U);
}

/// Whatever is sent: an answer of bounded size and a target that lives.
TEST_F(SessionTest, MutatedPackets) {
  const std::string seeds[] = {"g",
                               "G00112233",
                               "p10",
                               "P10=0011223344556677",
                               "m1000,40",
                               "M1000,2:4142",
                               "X1000,3:abc",
                               "Z0,1010,1",
                               "z0,1010,1",
                               "Hg-1",
                               "Hcp1.2",
                               "vCont;s:a;c",
                               "vCont;C0b:b;c",
                               "vCont?",
                               "qSupported:a+;b-",
                               "qXfer:features:read:target.xml:0,ffb",
                               "qXfer:auxv:read::0,1000",
                               "QPassSignals:e;10;14",
                               "qThreadExtraInfo,a",
                               "vFile:open:2f,0,0",
                               "vFile:pread:0,10,0",
                               "vFile:close:0",
                               "Ta",
                               "S05",
                               "qRcmd,00",
                               "vKill;1",
                               "D;1",
                               "?"};
  std::mt19937 random(23);
  constexpr std::string_view kLikely = ",;:=-pf0Ffzs#$}";
  for (int i = 0; i < 60000; ++i) {
    std::string p = seeds[random() % std::size(seeds)];
    for (unsigned n = random() % 4; n > 0; --n) {
      const std::size_t at = p.empty() ? 0 : random() % p.size();
      const char c = random() % 3 != 0 ? kLikely[random() % kLikely.size()] : static_cast<char>(random());
      switch (random() % 4) {
        case 0: p.insert(at, 1 + random() % 20, c); break;
        case 1:
          if (!p.empty()) p.erase(at, 1 + random() % 3);
          break;
        case 2:
          if (!p.empty()) p[at] = c;
          break;
        default: p += p.substr(at); break;
      }
    }
    const Session::Reply r = session.handle(p);
    ASSERT_LE(r.body.size(), kMaxPacket) << p;
    ASSERT_TRUE(target.file.regs.cs == kUserCs64 || target.file.regs.cs == kUserCs32);
  }
}

}  // namespace
}  // namespace hpcvmm::gdb
