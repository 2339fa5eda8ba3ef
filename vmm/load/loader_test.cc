// Goal: programs are mapped as the kernel maps them.  Method: the loader fills the address space of a forked
// child, which then jumps to the entry point: a loaded program really runs, and what it prints about itself
// is compared with what it prints when the kernel started it.  Addresses are compared with the kernel's own
// for the same file.
#include "vmm/load/loader.hh"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>

#include <map>
#include <set>

#include "hpcvmm/base/layout.hh"
#include "vmm/load/load_testing.hh"
#include "vmm/load/program.hh"
#include "vmm/load/regs.hh"
#include "vmm/load/stack.hh"

namespace hpcvmm::load {
namespace {

using testing::guest;
using testing::Outcome;
using testing::read_file;
using testing::run_child;
using testing::TempDir;

/// Really maps, into this process.
class RealMapper : public Mapper {
 public:
  explicit RealMapper(Abi abi) : abi_(abi) {}
  std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int fd,
                   std::uint64_t offset) override {
    const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (abi_ == Abi::Ia32 && !fixed) flags |= MAP_32BIT;
    void* const at =
        ::mmap(reinterpret_cast<void*>(addr), bytes, prot, flags, fd, static_cast<off_t>(offset));
    if (at == MAP_FAILED) return -errno;
    return static_cast<std::int64_t>(reinterpret_cast<std::uint64_t>(at));
  }
  std::int64_t unmap(std::uint64_t addr, std::uint64_t bytes) override {
    return ::munmap(reinterpret_cast<void*>(addr), bytes) == 0 ? 0 : -errno;
  }
  bool zero(std::uint64_t addr, std::uint64_t bytes) override {
    const UniqueFd zeros(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    return ::read(zeros.get(), reinterpret_cast<void*>(addr), bytes) == static_cast<ssize_t>(bytes);
  }

 private:
  Abi abi_;
};

/// Keeps a list instead of mapping; NULL hints go to `next`.
class ListMapper : public Mapper {
 public:
  struct Call {
    std::uint64_t addr, bytes;
    int prot, flags;
  };
  std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int,
                   std::uint64_t) override {
    const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (!fixed) addr = next - bytes;
    calls.push_back({addr, bytes, prot, flags});
    return static_cast<std::int64_t>(addr);
  }
  std::int64_t unmap(std::uint64_t, std::uint64_t) override { return 0; }
  bool zero(std::uint64_t addr, std::uint64_t bytes) override {
    zeroed.push_back({addr, bytes, 0, 0});
    return zero_works;
  }
  std::uint64_t next = 0x7fff'f7ff'f000;
  bool zero_works = true;
  std::vector<Call> calls, zeroed;
};

struct Opened {
  Program program;
  Images images;
  Verdict verdict;
  explicit Opened(const std::string& path, std::vector<std::string> argv = {"x"}) {
    ExecRequest request;
    request.path = path;
    request.argv = std::move(argv);
    verdict = resolve_program(request, program);
    if (verdict.ok()) verdict = open_images(program.fd.get(), images);
  }
};

LoadOptions fixed_options() {
  LoadOptions options;
  options.personality = ADDR_NO_RANDOMIZE;
  return options;
}

[[noreturn]] void jump(const GuestRegs& regs) {
  // The frame of iretq, built where the old stack still is; ds and es matter to IA32 code only.
  const std::uint64_t frame[5] = {regs.rip, regs.cs, regs.rflags, regs.rsp, regs.ss};
  asm volatile(
      "mov %w1, %%ds\n mov %w1, %%es\n mov %0, %%rsp\n"
      "xor %%eax, %%eax\n xor %%ebx, %%ebx\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n"
      "xor %%esi, %%esi\n xor %%edi, %%edi\n xor %%ebp, %%ebp\n iretq"
      :
      : "r"(frame), "r"(static_cast<std::uint32_t>(regs.ds))
      : "memory");
  __builtin_unreachable();
}

// In a child: what the deputy will do after its exec, but on the bare CPU.
void start(const Opened& file, const std::vector<std::string>& envp, int error_fd) {
  const Abi abi = file.program.header.abi;
  RealMapper mapper(abi);
  LoadOptions options;
  options.random = {0x1234567, 0x89abcd};
  const Loaded loaded = load_program(mapper, file.program.fd.get(), file.images, options);
  if (!loaded.verdict.ok()) return testing::report(error_fd, loaded.verdict.error);
  constexpr std::uint64_t kStackBytes = 1 << 20;
  const std::int64_t base =
      mapper.map(0, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::vector<std::string_view> args(file.program.argv.begin(), file.program.argv.end());
  const std::vector<std::string_view> env(envp.begin(), envp.end());
  StackInput in;
  describe_image(loaded, in);
  in.top = static_cast<std::uint64_t>(base) + kStackBytes;
  in.execfn = file.program.execfn;
  in.argv = args;
  in.envp = env;
  in.uid = ::getuid();
  in.euid = ::geteuid();
  in.gid = ::getgid();
  in.egid = ::getegid();
  in.shift_bytes = 1234;
  in.host = host_aux();
  const StackImage stack = build_stack(in);
  std::memcpy(reinterpret_cast<void*>(stack.sp), stack.bytes.data(), stack.bytes.size());
  jump(initial_regs(abi, loaded.entry, stack.sp));
}

// Entries that cannot be equal: the vDSO (the child gets none) and rseq (refused by design).
std::string comparable(const std::string& text) {
  std::string out;
  for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    bool skip = false;
    for (const char* entry : {"aux 27 ", "aux 28 ", "aux 32", "aux 33"})
      skip = skip || line.starts_with(entry);
    if (!skip) out += line + "\n";
  }
  return out;
}

class RealRun : public ::testing::TestWithParam<const char*> {};

TEST_P(RealRun, PrintsWhatTheKernelsRunPrints) {
  const std::string path = guest(GetParam());
  const std::vector<std::string> argv = {"zero", "", "two words", std::string(5000, 'l')};
  const std::vector<std::string> envp = {"PATH=/bin", "EMPTY=", "X"};
  const Outcome native = testing::native_exec(path, argv, envp);
  const Opened file(path, argv);
  if (native.error != 0) {
    EXPECT_EQ(file.verdict.error, native.error);
    GTEST_SKIP() << "this host has no ELF interpreter for it";
  }
  ASSERT_TRUE(file.verdict.ok()) << file.verdict.why;
  const Outcome ours = run_child([&](int error_fd) { start(file, envp, error_fd); });
  EXPECT_EQ(ours.error, 0);
  EXPECT_TRUE(native.exited(42)) << native.status;
  EXPECT_EQ(ours.status, native.status);
  EXPECT_EQ(comparable(ours.output), comparable(native.output));
  EXPECT_GT(native.output.size(), 5000U);
}

INSTANTIATE_TEST_SUITE_P(Loader, RealRun,
                         ::testing::Values("show.static.64", "show.static_pie.64", "show.pie.64",
                                           "show.dynamic.64", "show.aligned.64", "show.static.32",
                                           "show.static_pie.32", "show.pie.32", "show.dynamic.32"));

TEST(Loader, TinyProgramsRun) {
  for (const char* name : {"tiny.static.64", "tiny.static.32", "tiny.execstack.64", "tiny.execstack.32"}) {
    const Opened file(guest(name));
    ASSERT_TRUE(file.verdict.ok()) << name;
    const Outcome ours = run_child([&](int error_fd) { start(file, {}, error_fd); });
    EXPECT_TRUE(ours.exited(7)) << name << " status " << ours.status << " error " << ours.error;
  }
}

/// The kernel's own numbers for a program stopped right after execve (ptrace-free: /proc of a stopped vfork
/// is not possible, so the program prints them): fields of /proc/self/stat and the auxiliary vector.
struct KernelView {
  std::map<std::string, std::uint64_t> stat;
  std::map<std::uint64_t, std::uint64_t> aux;
};

KernelView kernel_view(const std::string& program) {
  // sh would add its own children; a raw child that stops itself at its first instruction is what ptrace
  // gives.
  KernelView view;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::personality(ADDR_NO_RANDOMIZE);
    ::syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0);
    char name[] = "x";
    char* const argv[] = {name, nullptr};
    char* const envp[] = {nullptr};
    ::execve(program.c_str(), argv, envp);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  const std::string folder = "/proc/" + std::to_string(pid);
  std::ifstream in(folder + "/stat");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text = text.substr(text.rfind(')') + 2);
  std::vector<std::uint64_t> fields(2);  // index = field number - 1; comm and pid are cut off
  for (std::size_t at = 0; at < text.size(); at = text.find(' ', at) + 1) {
    fields.push_back(std::strtoull(text.c_str() + at, nullptr, 10));
    if (text.find(' ', at) == std::string::npos) break;
  }
  const std::map<std::string, std::size_t> names = {
      {"start_code", 26}, {"end_code", 27}, {"start_data", 45}, {"end_data", 46}, {"start_brk", 47}};
  for (const auto& [name, number] : names) view.stat[name] = fields.at(number - 1);
  const std::vector<std::byte> aux = read_file(folder + "/auxv");
  const std::vector<std::byte> head = read_file(program);
  const std::size_t word = head[4] == std::byte{1} ? 4 : 8;
  for (std::size_t at = 0; at + 2 * word <= aux.size(); at += 2 * word) {
    std::uint64_t type = 0;
    std::uint64_t value = 0;
    std::memcpy(&type, &aux[at], word);
    std::memcpy(&value, &aux[at + word], word);
    if (type == 0) break;
    view.aux[type] = value;
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  return view;
}

// Without randomisation every address that does not hang on mmap's choice must be the kernel's; where it
// does, the distance between them must.
TEST(Loader, AddressesAreTheKernels) {
  for (const char* name : {"show.static.64", "show.pie.64", "show.dynamic.64", "show.static_pie.64",
                           "show.static.32", "show.pie.32", "show.dynamic.32", "show.static_pie.32"}) {
    SCOPED_TRACE(name);
    const Opened file(guest(name));
    if (file.verdict.error == ENOENT) continue;  // no IA32 ELF interpreter on this host
    ASSERT_TRUE(file.verdict.ok());
    ListMapper mapper;
    if (file.program.header.abi == Abi::Ia32) mapper.next = 0xf7ff'f000;
    const Loaded loaded = load_program(mapper, file.program.fd.get(), file.images, fixed_options());
    ASSERT_TRUE(loaded.verdict.ok()) << loaded.verdict.why;
    KernelView kernel = kernel_view(guest(name));
    const std::uint64_t base = loaded.shape == Shape::StaticPie ? kernel.aux[3] - loaded.phdr : 0;
    EXPECT_EQ(loaded.phdr + base, kernel.aux[3]);
    EXPECT_EQ(loaded.phnum, kernel.aux[5]);
    EXPECT_EQ(loaded.program_entry + base, kernel.aux[9]);
    EXPECT_EQ(loaded.interp_base == 0, kernel.aux[7] == 0);
    EXPECT_EQ(loaded.start_code + base, kernel.stat["start_code"]);
    EXPECT_EQ(loaded.end_code + base, kernel.stat["end_code"]);
    EXPECT_EQ(loaded.start_data + base, kernel.stat["start_data"]);
    EXPECT_EQ(loaded.end_data + base, kernel.stat["end_data"]);
    EXPECT_EQ(loaded.brk, kernel.stat["start_brk"]);
  }
}

TEST(Loader, RandomisationStaysInLinuxsRange) {
  const Opened wide(guest("show.pie.64"));
  const Opened fixed(guest("show.static.32"));
  std::set<std::uint64_t> places;
  for (const std::uint64_t random : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    LoadOptions options;
    options.random = {random, random};
    ListMapper mapper;
    const Loaded pie = load_program(mapper, wide.program.fd.get(), wide.images, options);
    ASSERT_TRUE(pie.verdict.ok());
    const std::uint64_t start = mapper.calls.at(0).addr;
    EXPECT_EQ(start, 0x5555'5555'4000 + (random & 0xfff'ffff) * kPageSize);
    EXPECT_GE(pie.brk, page_up(pie.end_data) + kPageSize);
    EXPECT_LT(pie.brk, page_up(pie.end_data) + (1 << 20) + (std::uint64_t{1} << 25));
    places.insert(start);
    ListMapper low;
    low.next = 0xf7ff'f000;
    const Loaded narrow = load_program(low, fixed.program.fd.get(), fixed.images, options);
    EXPECT_LT(narrow.brk, page_up(narrow.end_data) + (1 << 20) + (std::uint64_t{1} << 25));
  }
  EXPECT_EQ(places.size(), 3U);
}

TEST(Loader, ZoneIsOutOfReach) {
  const Opened file(guest("tiny.zone.64"));
  EXPECT_EQ(file.verdict.error, ENOMEM);
  ListMapper mapper;
  const Loaded loaded = load_program(mapper, file.program.fd.get(), file.images, fixed_options());
  EXPECT_EQ(loaded.verdict.error, ENOMEM);
  EXPECT_TRUE(mapper.calls.empty());
  // A PIE so large that it would reach from its usual place into the zone.
  Opened large(guest("show.pie.64"));
  ASSERT_TRUE(large.verdict.ok());
  large.images.program.segments.back().memsz = kZoneBegin - 0x5555'5555'4000;
  large.images.program.span_bytes += kZoneBegin - 0x5555'5555'4000;
  EXPECT_EQ(load_program(mapper, large.program.fd.get(), large.images, fixed_options()).verdict.error,
            ENOMEM);
  for (const ListMapper::Call& call : mapper.calls) EXPECT_FALSE(touches_zone(call.addr, call.bytes));
}

// IA32: a host mmap would accept addresses beyond 4 GiB.
TEST(Loader, Ia32StaysBelowFourGib) {
  const Opened file(guest("show.static_pie.32"));
  ListMapper high;  // places NULL hints at the top of 47 bits
  EXPECT_EQ(load_program(high, file.program.fd.get(), file.images, fixed_options()).verdict.error, ENOMEM);
}

TEST(Loader, BssIsWritableWhateverTheSegmentSays) {
  Opened file(guest("tiny.static.64"));
  ASSERT_TRUE(file.verdict.ok());
  Segment& last = file.images.program.segments.back();
  ListMapper writable;
  load_program(writable, file.program.fd.get(), file.images, fixed_options());
  ASSERT_EQ(writable.zeroed.size(), 1U);
  EXPECT_EQ(writable.zeroed[0].addr, last.vaddr + last.filesz);
  EXPECT_EQ(writable.zeroed[0].addr + writable.zeroed[0].bytes, page_up(last.vaddr + last.filesz));
  EXPECT_EQ(writable.calls.back().prot, PROT_READ | PROT_WRITE);
  EXPECT_EQ(writable.calls.back().addr + writable.calls.back().bytes, page_up(last.vaddr + last.memsz));
  ListMapper broken;
  broken.zero_works = false;
  EXPECT_EQ(load_program(broken, file.program.fd.get(), file.images, fixed_options()).verdict.error, EFAULT);

  last.prot = PROT_READ | PROT_EXEC;
  ListMapper text;
  const Loaded loaded = load_program(text, file.program.fd.get(), file.images, fixed_options());
  EXPECT_TRUE(loaded.verdict.ok());
  EXPECT_TRUE(text.zeroed.empty());
  EXPECT_EQ(text.calls.back().prot, PROT_READ | PROT_WRITE | PROT_EXEC);
}

// The file ends before the page that has to be cleared: Linux kills the new image, and so must the caller.
TEST(Loader, FileShorterThanItsSegments) {
  TempDir dir;
  const std::vector<std::byte> bytes = read_file(guest("show.static.64"));
  const std::string path = dir.write("short", bytes.data(), 0x8000);
  const Outcome native = testing::native_exec(path, {"x"});
  EXPECT_EQ(native.error, 0);
  EXPECT_TRUE(WIFSIGNALED(native.status) && WTERMSIG(native.status) == SIGSEGV);
  const Opened file(path);
  ASSERT_TRUE(file.verdict.ok());
  const Outcome ours = run_child([&](int error_fd) { start(file, {}, error_fd); });
  EXPECT_EQ(ours.error, EFAULT);
}

TEST(Loader, ExecutableStackAndPersonality) {
  const auto load = [](const char* name, unsigned personality, StackExec stack, bool implied) {
    Opened file(guest(name));
    file.images.program.stack = stack;
    file.images.program.read_implies_exec = implied;
    LoadOptions options = fixed_options();
    options.personality |= personality;
    ListMapper mapper;
    mapper.next = 0xf7ff'f000;
    const Loaded loaded = load_program(mapper, file.program.fd.get(), file.images, options);
    EXPECT_TRUE(loaded.verdict.ok());
    int prot = PROT_READ | PROT_EXEC;
    for (const ListMapper::Call& call : mapper.calls) prot &= call.prot;
    EXPECT_EQ((prot & PROT_EXEC) != 0, loaded.read_implies_exec) << "every mapping is executable";
    return loaded.exec_stack;
  };
  EXPECT_FALSE(load("tiny.static.64", 0, StackExec::Off, false));
  EXPECT_FALSE(load("tiny.static.64", 0, StackExec::Default, false));
  EXPECT_TRUE(load("tiny.static.64", 0, StackExec::On, false));
  EXPECT_FALSE(load("tiny.static.64", READ_IMPLIES_EXEC, StackExec::Default, false));
  EXPECT_TRUE(load("tiny.static.32", 0, StackExec::Default, true));
  EXPECT_TRUE(load("tiny.static.32", READ_IMPLIES_EXEC, StackExec::Default, false));
  EXPECT_FALSE(load("tiny.static.32", READ_IMPLIES_EXEC, StackExec::Off, false));
  EXPECT_FALSE(load("tiny.static.32", 0, StackExec::Off, false));
}

}  // namespace
}  // namespace hpcvmm::load
