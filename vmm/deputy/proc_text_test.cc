#include "vmm/deputy/proc_text.hh"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace hpcvmm::deputy::proc_text {
namespace {

bool nothing(std::uint64_t, std::uint64_t) { return false; }
bool zone(std::uint64_t begin, std::uint64_t end) { return begin < 0x6b0000000000 && end > 0x6a0000000000; }

void expect(const char* path, What what, std::int64_t pid = 0, int fd = -1) {
  const Name n = parse_name(path);
  EXPECT_EQ(n.what, what) << path;
  if (what == What::Other) return;
  EXPECT_EQ(n.pid, pid) << path;
  EXPECT_EQ(n.fd, fd) << path;
}

TEST(ProcName, Exe) {
  expect("/proc/self/exe", What::Exe);
  expect("/proc/thread-self/exe", What::Exe);
  expect("/proc/17/exe", What::Exe, 17);
  expect("/proc/self/task/18/exe", What::Exe);
  expect("/proc/17/task/18/exe", What::Exe, 17);
  expect("//proc/./self//exe", What::Exe);
  expect("/proc/self/exe/", What::Exe);
  expect("/proc/self/exe/x", What::Other);
  expect("/proc/self/exec", What::Other);
  expect("/proc/self/../self/exe", What::Other);
  expect("/proc/0/exe", What::Other);
  expect("/proc/-1/exe", What::Other);
  expect("/proc/17x/exe", What::Other);
  expect("/proc/self/task/exe", What::Other);
  expect("proc/self/exe", What::Other);
  expect("/process/self/exe", What::Other);
  expect("/", What::Other);
  expect("", What::Other);
}

TEST(ProcName, Descriptors) {
  expect("/proc/self/fd/12", What::Fd, 0, 12);
  expect("/proc/5/fdinfo/1024", What::Fd, 5, 1024);
  expect("/proc/self/task/9/fd/3", What::Fd, 0, 3);
  expect("/dev/fd/7", What::Fd, 0, 7);
  expect("/dev/fd/", What::Other);
  expect("/dev/fdx/7", What::Other);
  expect("/proc/self/fd/7x", What::Other);
  expect("/proc/self/fd/99999999999", What::Other);
}

TEST(ProcName, Candidates) {
  EXPECT_TRUE(is_candidate("/proc/self/exe"));
  EXPECT_TRUE(is_candidate("//dev/fd/1"));
  EXPECT_FALSE(is_candidate("/usr/bin/env"));
  EXPECT_FALSE(is_candidate("/procs/1"));
}

TEST(ProcText, Range) {
  Range r;
  EXPECT_TRUE(parse_range("7f00-7fff r--p", r));
  EXPECT_EQ(r.begin, 0x7f00U);
  EXPECT_EQ(r.end, 0x7fffU);
  EXPECT_FALSE(parse_range("Anonymous: 0 kB", r));
  EXPECT_FALSE(parse_range("7fff-7f00 r--p", r));
  EXPECT_FALSE(parse_range("", r));
}

constexpr char kMaps[] =
    "00400000-00401000 r-xp 00000000 fe:00 12                                 /tmp/a program with spaces\n"
    "01000000-01021000 rw-p 00000000 00:00 0 \n"
    "6a8000000000-6a8000100000 r-xp 00000000 fe:00 99                         /opt/hpc-vmm\n"
    "6a9000000000-6a9000100000 rw-p 00000000 00:00 0 \n"
    "7f0000000000-7f0000001000 r--p 00000000 00:00 0 \n"
    "7f0000001000-7f0000002000 r-xp 00000000 00:00 0 \n"
    "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n"
    "7fff00000000-7fff00004000 r--p 00000000 00:00 0                          [vvar]\n"
    "7fff00004000-7fff00006000 r-xp 00000000 00:00 0                          [vdso]\n"
    "7fff10000000-7fff10021000 rw-p 00000000 00:00 0                          [stack]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

View view() {
  View v;
  v.vdso = 0x7f0000001000;
  v.brk_begin = 0x1000000;
  v.brk_end = 0x1021000;
  v.is_vmm = zone;
  return v;
}

TEST(ProcText, MapsShowTheGuest) {
  EXPECT_EQ(
      filter_maps(kMaps, view()),
      "00400000-00401000 r-xp 00000000 fe:00 12                                 /tmp/a program with spaces\n"
      "01000000-01021000 rw-p 00000000 00:00 0                                  [heap]\n"
      "7f0000000000-7f0000001000 r--p 00000000 00:00 0                          [vvar]\n"
      "7f0000001000-7f0000002000 r-xp 00000000 00:00 0                          [vdso]\n"
      "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n"
      "7fff10000000-7fff10021000 rw-p 00000000 00:00 0                          [stack]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
}

TEST(ProcText, Ia32HasNoVsyscall) {
  View v = view();
  v.ia32 = true;
  EXPECT_EQ(filter_maps(kMaps, v).find("[vsyscall]"), std::string::npos);
}

TEST(ProcText, SmapsLoseTheDetailsToo) {
  const std::string smaps =
      "00400000-00401000 r-xp 00000000 fe:00 12                                 /bin/x\n"
      "Size:                  4 kB\nAnonymous:             0 kB\nVmFlags: rd ex \n"
      "6a8000000000-6a8000100000 r-xp 00000000 fe:00 99                         /opt/hpc-vmm\n"
      "Size:               1024 kB\nAnonymous:             0 kB\nVmFlags: rd ex \n"
      "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \nSize:                  4 kB\n";
  EXPECT_EQ(filter_maps(smaps, view()),
            "00400000-00401000 r-xp 00000000 fe:00 12                                 /bin/x\n"
            "Size:                  4 kB\nAnonymous:             0 kB\nVmFlags: rd ex \n"
            "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \nSize:                  4 kB\n");
}

TEST(ProcText, RollupWithoutTheVmm) {
  const std::string smaps =
      "00400000-00401000 r-xp 00000000 fe:00 12                                 /bin/x\n"
      "Rss:                   4 kB\nPss:                   4 kB\n"
      "6a8000000000-6a8000100000 r-xp 00000000 fe:00 99                         /opt/hpc-vmm\n"
      "Rss:                 100 kB\nPss:                  50 kB\n"
      "6a9000000000-6a9000100000 rw-p 00000000 00:00 0 \n"
      "Rss:                  20 kB\nPss:                  20 kB\n";
  const std::string rollup =
      "00400000-7fff10021000 ---p 00000000 00:00 0                              [rollup]\n"
      "Rss:                 124 kB\nPss:                  74 kB\nPss_Anon:             20 kB\n"
      "Pss_File:             54 kB\nLocked:                0 kB\n";
  EXPECT_EQ(filter_rollup(rollup, smaps, view()),
            "00400000-7fff10021000 ---p 00000000 00:00 0                              [rollup]\n"
            "Rss:                   4 kB\nPss:                   4 kB\nPss_Anon:              0 kB\n"
            "Pss_File:              4 kB\nLocked:                0 kB\n");
}

TEST(ProcText, NumaMaps) {
  EXPECT_EQ(filter_numa_maps(
                "00400000 default file=/bin/x mapped=1 N0=1\n6a8000000000 default file=/opt/hpc-vmm N0=1\n",
                view()),
            "00400000 default file=/bin/x mapped=1 N0=1\n");
}

TEST(ProcText, StatusIsTheGuests) {
  Status s;
  s.ignored = 1;
  s.caught = 0x8000000000000800;
  s.threads = 7;
  s.seccomp_mode = 2;
  s.seccomp_filters = 3;
  EXPECT_EQ(filter_status("Name:\tx: y\nThreads:\t9\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000000000\n"
                          "SigCgt:\t0000000140000cd8\nSeccomp:\t0\nSeccomp_filters:\t0\nMems_allowed:\t1\n",
                          s),
            "Name:\tx: y\nThreads:\t7\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000000001\n"
            "SigCgt:\t8000000000000800\nSeccomp:\t2\nSeccomp_filters:\t3\nMems_allowed:\t1\n");
}

TEST(ProcText, StatusNamesTheClustersCpus) {
  Status s;
  s.cpus = "3f";
  s.cpu_list = "0-5";
  s.nodes = "0e";
  s.node_list = "1-3";
  EXPECT_EQ(filter_status(
                "Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\nMems_allowed:\t1\nMems_allowed_list:\t0\n", s),
            "Cpus_allowed:\t3f\nCpus_allowed_list:\t0-5\nMems_allowed:\t0e\nMems_allowed_list:\t1-3\n");
}

TEST(ProcText, StatHasTheTimeAwayAndTheClustersCpu) {
  std::ifstream file("/proc/self/stat");
  std::string host;
  std::getline(file, host);
  host += '\n';
  EXPECT_EQ(filter_stat(host, {}, [](unsigned cpu) { return cpu; }), host);
  std::string text = "7 (a) b) R";
  std::string expected = text;
  for (int field = 4; field <= 41; ++field) {
    text += " " + std::to_string(field);
    expected += " " + std::to_string(field >= 14 && field <= 17 ? field + 100 * (field - 13)
                                     : field == 39              ? 1039
                                                                : field);
  }
  EXPECT_EQ(filter_stat(text, {100, 200, 300, 400}, [](unsigned cpu) { return cpu + 1000; }), expected);
}

// With nothing to hide, this process's own file comes back byte for byte but for the host's vDSO.
TEST(ProcText, RoundTripOfTheKernelsFormat) {
  std::ifstream file("/proc/self/maps");
  std::string expected;
  std::string host;
  View v;
  v.is_vmm = nothing;
  for (std::string line; std::getline(file, line);) {
    host += line + '\n';
    Range r;
    ASSERT_TRUE(parse_range(line, r)) << line;
    if (line.find("[heap]") != std::string::npos) {
      v.brk_begin = r.begin;
      v.brk_end = r.end;
    }
    if (line.find("[vdso]") == std::string::npos && line.find("[vvar") == std::string::npos)
      expected += line + '\n';
  }
  EXPECT_EQ(filter_maps(host, v), expected);
}

}  // namespace
}  // namespace hpcvmm::deputy::proc_text
