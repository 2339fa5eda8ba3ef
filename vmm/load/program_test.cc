// Goal: resolve_program() and open_images() give the errno of the host's execve(2), for good and for broken
// programs. Method: each case is asked of both; a program that Linux starts must be one we would start.
#include "vmm/load/program.hh"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <array>
#include <random>

#include "vmm/load/images.hh"
#include "vmm/load/load_testing.hh"

namespace hpcvmm::load {
namespace {

using testing::guest;
using testing::native_exec;
using testing::Outcome;
using testing::read_file;
using testing::run_child;
using testing::TempDir;

constexpr const char* kNobody = "65534";

int our_errno(const ExecRequest& request) {
  Program program;
  const Verdict verdict = resolve_program(request, program);
  if (!verdict.ok() || program.native != Native::No) return verdict.error;
  return validate(program.fd.get()).error;
}

int our_errno(const std::string& path) {
  ExecRequest request;
  request.path = path;
  request.argv = {"argv0"};
  return our_errno(request);
}

// 0 as expectation: both start it.
void expect_same(const std::string& path, int expected) {
  const int native = native_exec(path, {"argv0"}).error;
  EXPECT_EQ(native, expected) << path << ": the expectation is wrong";
  EXPECT_EQ(our_errno(path), native) << path;
}

TEST(Program, Paths) {
  TempDir dir;
  expect_same("/bin/true", 0);
  expect_same("", ENOENT);
  expect_same(dir.path() + "/missing", ENOENT);
  expect_same(dir.path(), EACCES);
  expect_same("/bin/true/x", ENOTDIR);
  expect_same("/bin/true/", ENOTDIR);
  expect_same("/dev/null", EACCES);
  expect_same("/" + std::string(300, 'x'), ENAMETOOLONG);
  expect_same("/" + std::string(5000, 'x'), ENAMETOOLONG);
  const std::string loop = dir.add("loop");
  ASSERT_EQ(::symlink(loop.c_str(), loop.c_str()), 0);
  expect_same(loop, ELOOP);
  const std::string link = dir.add("link");
  ASSERT_EQ(::symlink("/bin/true", link.c_str()), 0);
  expect_same(link, 0);
  const std::string fifo = dir.add("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0755), 0);
  expect_same(fifo, EACCES);
  expect_same(dir.write("no_x", read_file("/bin/true"), 0644), EACCES);
}

TEST(Program, Contents) {
  TempDir dir;
  expect_same(dir.write("empty", ""), ENOEXEC);
  expect_same(dir.write("text", "echo hello\n"), ENOEXEC);
  expect_same(dir.write("magic",
                        "\x7f"
                        "ELF"),
              ENOEXEC);
  std::vector<std::byte> file = read_file(guest("tiny.static.64"));
  expect_same(dir.write("good", file), 0);
  expect_same(dir.write("truncated", file.data(), 100), ENOEXEC);
  file[18] = std::byte{183};
  expect_same(dir.write("arm", file), ENOEXEC);
  expect_same(guest("tiny.static.32"), 0);
  expect_same(guest("show.pie.32"), ::access("/lib/ld-linux.so.2", X_OK) == 0 ? 0 : ENOENT);
}

// The program's interpreter path is patched in place; "/lib64/ld-linux-x86-64.so.2" leaves 27 characters.
TEST(Program, ElfInterpreters) {
  TempDir dir;
  const std::vector<std::byte> original = read_file(guest("show.pie.64"));
  const ElfPlan plan = parse_elf(original, original.size(), Role::Program);
  int count = 0;
  const auto with_interp = [&](std::string_view interp) {
    std::vector<std::byte> file = original;
    std::memset(&file[plan.interp_offset], 0, plan.interp_bytes);
    std::memcpy(&file[plan.interp_offset], interp.data(), interp.size());
    return dir.write("program" + std::to_string(count++), file);
  };
  const std::string folder = dir.path();
  std::string link = "/tmp/hl" + std::to_string(::getpid() % 100000);
  ASSERT_EQ(::symlink(folder.c_str(), link.c_str()), 0);
  const auto interp_file = [&](const char* name, const std::vector<std::byte>& bytes, std::size_t size,
                               mode_t mode = 0755) {
    dir.write(name, bytes.data(), size, mode);
    return with_interp(link + "/" + name);
  };
  const std::vector<std::byte> loader = read_file("/lib64/ld-linux-x86-64.so.2");
  const std::vector<std::byte> ia32 = read_file(guest("tiny.static.32"));
  expect_same(with_interp("/lib64/ld-linux-x86-64.so.2"), 0);
  expect_same(with_interp("/nonexistent"), ENOENT);
  expect_same(with_interp(""), EACCES);
  expect_same(with_interp("/tmp"), EACCES);
  expect_same(with_interp("/etc/passwd"), EACCES);
  expect_same(interp_file("copy", loader, loader.size()), 0);
  expect_same(interp_file("no_x", loader, loader.size(), 0600), EACCES);
  expect_same(interp_file("empty", loader, 0), EIO);
  expect_same(interp_file("short", loader, 63), EIO);
  expect_same(interp_file("header", loader, 64), ELIBBAD);
  expect_same(interp_file("ia32", ia32, ia32.size()), ELIBBAD);
  const std::vector<std::byte> text(100, std::byte{'x'});
  expect_same(interp_file("text", text, text.size()), ELIBBAD);
  std::vector<std::byte> file = original;
  file[plan.interp_offset + plan.interp_bytes - 1] = std::byte{'x'};
  expect_same(dir.write("no_nul", file), ENOEXEC);
  ::unlink(link.c_str());
}

TEST(Program, ScriptErrors) {
  TempDir dir;
  const auto script = [&](const std::string& name, const std::string& text) { return dir.write(name, text); };
  expect_same(script("good", "#!/bin/true\n"), 0);
  expect_same(script("blank", "#! \n"), ENOEXEC);
  expect_same(script("missing", "#!/nonexistent x\n"), ENOENT);
  expect_same(script("nul", std::string("#!\0\n", 4)), EACCES);
  expect_same(script("folder", "#!/tmp\n"), EACCES);
  expect_same(script("long", "#!/" + std::string(300, 'x') + "\n"), ENOEXEC);
  expect_same(script("longarg", "#!/bin/true " + std::string(300, 'x') + "\n"), 0);
  expect_same(script("longblank", "#!" + std::string(300, ' ') + "/bin/true\n"), ENOEXEC);
  expect_same(script("self", "#!" + dir.path() + "/self\n"), ELOOP);
  expect_same(script("text", "#!/etc/passwd\n"), EACCES);
  expect_same(script("textx", "echo\n"), ENOEXEC);
  expect_same(script("overtext", "#!" + dir.path() + "/textx\n"), ENOEXEC);
  std::string last = "/bin/true";
  for (int i = 1; i <= 7; ++i) {
    last = script("chain" + std::to_string(i), "#!" + last + "\n");
    expect_same(last, i <= 5 ? 0 : ELOOP);
  }
}

// The argv a chain of scripts leads to, compared with what the kernel hands to a program that prints it.
TEST(Program, ScriptArguments) {
  TempDir dir;
  const std::string shown = guest("show.static.64");
  const std::string link = dir.add("s");
  ASSERT_EQ(::symlink(shown.c_str(), link.c_str()), 0);
  const std::string one = dir.write("one", "#! " + link + " \t-a  b \n");
  const std::string two = dir.write("two", "#!" + one + " \t\n");
  const std::vector<std::vector<std::string>> calls = {{"zero", "x", ""}, {"zero"}, {}};
  for (const std::string& path : {one, two, shown}) {
    for (const std::vector<std::string>& argv : calls) {
      const Outcome native = native_exec(path, argv);
      ExecRequest request;
      request.path = path;
      request.argv = argv;
      Program program;
      ASSERT_TRUE(resolve_program(request, program).ok());
      EXPECT_EQ(program.execfn, path);
      for (std::size_t i = 0; i < program.argv.size(); ++i) {
        const std::string want = "argv[" + std::to_string(i) + "] +";
        const std::size_t at = native.output.find(want);
        ASSERT_NE(at, std::string::npos) << native.output;
        const std::string line = native.output.substr(at, native.output.find('\n', at) - at);
        EXPECT_NE(line.find(" '" + program.argv[i] + "'"), std::string::npos)
            << line << " / " << program.argv[i];
      }
      const std::string end = "argc " + std::to_string(program.argv.size());
      EXPECT_NE(native.output.find(end), std::string::npos) << native.output;
      EXPECT_NE(native.output.find("execfn '" + program.execfn + "'"), std::string::npos) << native.output;
    }
  }
}

TEST(Program, RelativeInterpreterStartsAtCwd) {
  TempDir dir;
  const std::string script = dir.write("script", "#!./copy x\n");
  const std::string copy = dir.write("copy", read_file(guest("tiny.static.64")));
  expect_same(script, ENOENT);
  const UniqueFd before(::open(".", O_PATH | O_CLOEXEC));
  ASSERT_EQ(::chdir(dir.path().c_str()), 0);
  expect_same(script, 0);
  expect_same("script", 0);
  ASSERT_EQ(::fchdir(before.get()), 0);
}

int native_execveat(int fd, const char* path, int flags) {
  return run_child([&](int error_fd) {
           char name[] = "argv0";
           char* const argv[] = {name, nullptr};
           char* const envp[] = {nullptr};
           ::syscall(SYS_execveat, fd, path, argv, envp, flags);
           testing::report(error_fd, errno);
         })
      .error;
}

TEST(Program, Descriptors) {
  TempDir dir;
  const std::string script = dir.write("script", "#!/bin/true\n");
  const std::string link = dir.add("link");
  ASSERT_EQ(::symlink("/bin/true", link.c_str()), 0);
  const auto expect_at = [&](int fd, const char* path, int flags, int expected) {
    ExecRequest request;
    request.dirfd = fd;
    request.path = path;
    request.flags = flags;
    EXPECT_EQ(native_execveat(fd, path, flags), expected) << path << " " << flags;
    EXPECT_EQ(our_errno(request), expected) << path << " " << flags;
  };
  const UniqueFd folder(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY));
  const UniqueFd program(::open("/bin/true", O_RDONLY | O_CLOEXEC));
  const UniqueFd place(::open("/bin/true", O_PATH | O_CLOEXEC));
  const UniqueFd kept(::open(script.c_str(), O_RDONLY));
  const UniqueFd closing(::open(script.c_str(), O_RDONLY | O_CLOEXEC));
  expect_at(folder.get(), "script", 0, 0);
  expect_at(folder.get(), "missing", 0, ENOENT);
  expect_at(folder.get(), "", 0, ENOENT);
  expect_at(folder.get(), "", AT_EMPTY_PATH, EACCES);
  expect_at(folder.get(), "link", 0, 0);
  expect_at(folder.get(), "link", AT_SYMLINK_NOFOLLOW, ELOOP);
  expect_at(folder.get(), "link", 0x40, EINVAL);
  expect_at(program.get(), "", AT_EMPTY_PATH, 0);
  expect_at(place.get(), "", AT_EMPTY_PATH, 0);
  expect_at(kept.get(), "", AT_EMPTY_PATH, 0);
  expect_at(closing.get(), "", AT_EMPTY_PATH, ENOENT);
  expect_at(999, "", AT_EMPTY_PATH, EBADF);
  expect_at(999, "x", 0, EBADF);
  expect_at(AT_FDCWD, "", AT_EMPTY_PATH, EACCES);

  ExecRequest request;
  request.dirfd = folder.get();
  request.path = "script";
  Program resolved;
  ASSERT_TRUE(resolve_program(request, resolved).ok());
  const std::string name = "/dev/fd/" + std::to_string(folder.get()) + "/script";
  EXPECT_EQ(resolved.execfn, name);
  EXPECT_EQ(resolved.argv, (std::vector<std::string>{"/bin/true", name}));
  EXPECT_EQ(resolved.scripts, 1U);
}

TEST(Program, BusyFileAndNoexecMount) {
  TempDir dir;
  const std::string busy = dir.write("busy", read_file(guest("tiny.static.64")));
  {
    const UniqueFd writer(::open(busy.c_str(), O_RDWR | O_CLOEXEC));
    const int native = native_exec(busy, {"x"}).error;
    EXPECT_EQ(native, ETXTBSY);
    EXPECT_EQ(our_errno(busy), native);
  }
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const std::string mount = dir.add("mount");
  ASSERT_EQ(::mkdir(mount.c_str(), 0755), 0);
  if (::mount("none", mount.c_str(), "tmpfs", MS_NOEXEC, nullptr) != 0) GTEST_SKIP() << "no right to mount";
  const std::string file = dir.write("mount/file", read_file(guest("tiny.static.64")));
  expect_same(file, EACCES);
  for (const Probe probe : {Probe::Kernel, Probe::Access}) {
    ExecFile out;
    EXPECT_EQ(open_executable(AT_FDCWD, file.c_str(), 0, out, probe).error, EACCES);
  }
  ::umount2(mount.c_str(), MNT_DETACH);
}

// What older kernels offer must give the same answers, ETXTBSY aside.
TEST(Program, ProbesAgree) {
  TempDir dir;
  const std::string none = dir.write("no_x", std::string_view("x"), 0644);
  for (const std::string& path : {std::string("/bin/true"), none, dir.path(), std::string("/dev/null")}) {
    ExecFile a;
    ExecFile b;
    EXPECT_EQ(open_executable(AT_FDCWD, path.c_str(), 0, a, Probe::Kernel).error,
              open_executable(AT_FDCWD, path.c_str(), 0, b, Probe::Access).error)
        << path;
  }
}

// Runs `check` as an ordinary user; its result is the child's exit code.
template <class Check> int as_nobody(Check check) {
  return WEXITSTATUS(run_child([&](int) {
                       const auto id = static_cast<unsigned>(std::atoi(kNobody));
                       if (::setresgid(id, id, id) != 0 || ::setresuid(id, id, id) != 0) ::_exit(100);
                       ::_exit(check());
                     }).status);
}

int native_of(const std::string& path) {
  ExecRequest request;
  request.path = path;
  Program program;
  const Verdict verdict = resolve_program(request, program);
  return verdict.ok() ? static_cast<int>(program.native) : 50 + verdict.error;
}

TEST(Program, PrivilegeIsSeen) {
  if (::geteuid() != 0) GTEST_SKIP() << "set-user-ID files of root need root";
  TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  const std::vector<std::byte> tiny = read_file(guest("tiny.static.64"));
  const std::string plain = dir.write("plain", tiny);
  const std::string set_uid = dir.write("set_uid", tiny, 04755);
  const std::string set_gid = dir.write("set_gid", tiny, 02755);
  const std::string locking = dir.write("locking", tiny, 02705);
  const std::string only_x = dir.write("only_x", tiny, 0711);
  const std::string caps = dir.write("caps", tiny);
  const std::string script = dir.write("script", "#!" + plain + "\n", 04755);
  const std::array<std::uint32_t, 5> ping = {0x02000001, 1U << 13, 0, 0,
                                             0};  // version 2, CAP_NET_RAW, effective
  ASSERT_EQ(::setxattr(caps.c_str(), "security.capability", ping.data(), sizeof ping, 0), 0);

  const auto expect_native = [&](const std::string& path, Native user, Native root) {
    EXPECT_EQ(as_nobody([&] { return native_of(path); }), static_cast<int>(user)) << path;
    EXPECT_EQ(native_of(path), static_cast<int>(root)) << path;
  };
  expect_native(plain, Native::No, Native::No);
  expect_native(set_uid, Native::SetId, Native::No);
  expect_native(set_gid, Native::SetId, Native::No);
  expect_native(locking, Native::No, Native::No);
  expect_native(caps, Native::FileCaps, Native::No);
  expect_native(script, Native::No, Native::No);
  expect_native(only_x, Native::Unreadable, Native::No);
  EXPECT_EQ(as_nobody([&] {
              ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              return native_of(set_uid);
            }),
            0);
  const std::string mine = dir.write("mine", tiny, 0700);
  EXPECT_EQ(as_nobody([&] { return native_of(mine); }), 50 + EACCES);
}

TEST(Program, SecureMeansRealIsNotEffective) {
  if (::geteuid() != 0) GTEST_SKIP() << "changing ids needs root";
  const auto secure = [] {
    ExecRequest request;
    request.path = "/bin/true";
    Program program;
    return resolve_program(request, program).ok() && program.secure ? 1 : 0;
  };
  EXPECT_EQ(secure(), 0);
  EXPECT_EQ(WEXITSTATUS(run_child([&](int) {
                          if (::setresuid(65534, static_cast<uid_t>(-1), static_cast<uid_t>(-1)) != 0)
                            ::_exit(9);
                          ::_exit(secure());
                        }).status),
            1);
}

// Random changes to the headers of a real program: the kernel and the parser must agree on execve's result.
TEST(Program, MutationsAgreeWithTheKernel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TempDir dir;
  const std::string path = dir.path() + "/mutant";
  dir.add("mutant");
  int refused = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    const bool dynamic = round % 4 == 3;
    const char* name = dynamic ? "show.pie.64" : round % 2 == 0 ? "tiny.static.64" : "tiny.static.32";
    std::vector<std::byte> file = read_file(guest(name));
    const ElfHeader header = parse_header(file, Role::Program);
    const std::size_t reach = header.phoff + header.phdrs_bytes + (dynamic ? 64 : 0);
    std::string changes = name;
    for (unsigned i = 0; i <= random() % 2; ++i) {
      const std::size_t at = random() % reach;
      const auto value = static_cast<unsigned char>(random() % 3 == 0 ? 255 : random() % 8);
      file[at] = std::byte{value};
      changes += " [" + std::to_string(at) + "]=" + std::to_string(value);
    }
    ::unlink(path.c_str());
    dir.write("mutant", file);
    const int native = native_exec(path, {"x"}).error;
    EXPECT_EQ(our_errno(path), native) << changes;
    refused += native != 0 ? 1 : 0;
  }
  EXPECT_GT(refused, kRounds / 50);
  EXPECT_LT(refused, kRounds * 19 / 20);
}

}  // namespace
}  // namespace hpcvmm::load
