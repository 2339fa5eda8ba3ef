#include "vmm/deputy/exec.hh"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "guest-agent/view/cpu_text.hh"
#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/calls.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/exit_words.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/deputy/procfs.hh"
#include "vmm/deputy/seccomp.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/engine/kvm/machine.hh"
#include "vmm/load/images.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

// Strings are length-prefixed, numbers eight bytes: a private format between two images of one executable.
void put_number(std::string& out, std::uint64_t v) {
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}
void put_string(std::string& out, const std::string& s) {
  put_number(out, s.size());
  out += s;
}

struct Reader {
  const std::string& bytes;
  std::size_t at = 0;
  bool ok = true;
  std::uint64_t number() {
    std::uint64_t v = 0;
    if (bytes.size() - at < sizeof v) {
      ok = false;
      return 0;
    }
    std::memcpy(&v, bytes.data() + at, sizeof v);
    at += sizeof v;
    return v;
  }
  int as_int() { return static_cast<int>(number()); }
  std::string string() {
    const std::uint64_t n = number();
    if (!ok || bytes.size() - at < n) {
      ok = false;
      return {};
    }
    std::string s = bytes.substr(at, n);
    at += n;
    return s;
  }
};

constexpr std::uint64_t kVersion = 3;

constexpr std::size_t kLongest = 131072;             // of one string, its NUL included
constexpr std::size_t kMost = std::size_t{6} << 20;  // of all

/// Appends the string at `at` in pieces: a buffer for the longest would be a mapping of its own each time,
/// and the arena's addresses are handed out once.  0 or an errno.
int read_string(std::uint64_t at, std::string& out) {
  std::array<char, 4096> piece{};
  for (;;) {
    const std::ptrdiff_t n = mem::copy_in_string(piece.data(), at, piece.size());
    if (n < 0) return EFAULT;
    out.append(piece.data(), static_cast<std::size_t>(n));
    if (out.size() >= kLongest) return E2BIG;
    if (n < static_cast<std::ptrdiff_t>(piece.size())) return 0;
    at += piece.size();
  }
}

/// Copies a NULL-terminated array of strings.  0 or an errno.  Limits as Linux: 128 KiB a string, 6 MiB in
/// all.
int read_strings(std::uint64_t at, Abi abi, std::vector<std::string>& out, std::size_t& total) {
  if (at == 0) return 0;
  const std::size_t size = abi == Abi::X64 ? 8 : 4;
  for (;; at += size) {
    std::uint64_t p = 0;
    if (!mem::copy_in(&p, at, size)) return EFAULT;
    if (p == 0) return 0;
    if (const int e = read_string(p, out.emplace_back())) return e;
    total += out.back().size() + 1 + size;
    if (total > kMost) return E2BIG;
  }
}

/// A copy of `fd` that survives exec, above the guest's numbers.  A vfork child's is not put on the list of
/// hidden descriptors: the list is the parent's, too, and would go on hiding a number that only the child
/// ever had.
int keep_across_exec(const Task& t, int fd) {
  if (fd < 0) return -1;
  const int copy = static_cast<int>(raw_call(SYS_fcntl, word(fd), F_DUPFD_CLOEXEC, 0));
  const int hidden = t.vfork_child ? raise_fd(copy) : hide_fd(copy);
  if (hidden >= 0) raw_call(SYS_fcntl, word(hidden), F_SETFD, 0);
  return hidden;
}

/// Undoes keep_across_exec after an exec that failed.
void drop_kept(const Task& t, int fd) {
  if (!t.vfork_child)
    close_hidden(fd);
  else if (fd >= 0)
    raw_call(SYS_close, word(fd));
}

void point_at(const std::vector<std::string>& strings, std::vector<const char*>& p) {
  p.reserve(strings.size() + 1);
  for (const std::string& s : strings) p.push_back(s.c_str());
  p.push_back(nullptr);
}

}  // namespace

std::string encode(const ExecConfig& c) {
  std::string out;
  put_number(out, kVersion);
  put_number(out, static_cast<std::uint64_t>(c.options.engine));
  put_number(out, c.options.verbose ? 1 : 0);
  put_number(out, word(c.options.trace_fd));
  put_number(out, word(c.options.summary_fd));
  put_number(out, c.options.cpus);
  put_number(out, word(c.options.cluster_fd));
  put_number(out, c.options.node);
  put_number(out, word(c.options.view_fd));
  put_number(out, word(c.options.accounts_fd));
  put_number(out, c.options.facts_known ? 1 : 0);
  put_number(out, static_cast<std::uint64_t>(c.options.chosen_for));
  put_number(out, c.nofile_hard);
  for (unsigned i = 0; i < 2; ++i)
    put_number(out, c.options.kvm_run[i] | (c.options.direct_run[i] ? 256U : 0U));
  put_number(out, word(c.program_fd));
  put_string(out, c.execfn);
  put_string(out, c.path);
  put_number(out, c.secure ? 1 : 0);
  put_number(out, c.mask);
  put_number(out, word(c.kvm_fd));
  put_number(out, word(c.self_fd));
  put_string(out, c.seccomp);
  put_string(out, c.affinity);
  put_number(out, c.used_user_us);
  put_number(out, c.used_system_us);
  put_string(out, c.cpuid);
  return out;
}

bool decode(const std::string& bytes, ExecConfig& c) {
  Reader r{bytes};
  if (r.number() != kVersion) return false;
  c.options.engine = static_cast<Options::Choice>(r.number());
  c.options.verbose = r.number() != 0;
  c.options.trace_fd = r.as_int();
  c.options.summary_fd = r.as_int();
  c.options.cpus = static_cast<std::uint32_t>(r.number());
  c.options.cluster_fd = r.as_int();
  c.options.node = static_cast<std::uint32_t>(r.number());
  c.options.view_fd = r.as_int();
  c.options.accounts_fd = r.as_int();
  c.options.facts_known = r.number() != 0;
  c.options.chosen_for = static_cast<Abi>(r.number());
  c.nofile_hard = r.number();
  for (unsigned i = 0; i < 2; ++i) {
    const std::uint64_t v = r.number();
    c.options.kvm_run[i] = static_cast<std::uint8_t>(v);
    c.options.direct_run[i] = (v & 256) != 0;
  }
  c.program_fd = r.as_int();
  c.execfn = r.string();
  c.path = r.string();
  c.secure = r.number() != 0;
  c.mask = r.number();
  c.kvm_fd = r.as_int();
  c.self_fd = r.as_int();
  c.seccomp = r.string();
  c.affinity = r.string();
  c.used_user_us = r.number();
  c.used_system_us = r.number();
  c.cpuid = r.string();
  return r.ok && r.at == bytes.size();
}

namespace {

/// What the old image can know: 0, or the errno of execve(2).  program.native says if hpc-vmm must not run
/// it.
int check(const load::ExecRequest& request, load::Program& program) {
  load::Verdict v = load::resolve_program(request, program);
  if (!v.ok()) return v.error;
  if (program.native != load::Native::No) return 0;
  load::Images images;
  v = load::open_images(program.fd.get(), images);
  if (!v.ok()) return v.error;
  if (images.interp_unreadable) program.native = load::Native::Unreadable;
  return 0;
}

int run_native(ExecPlan& plan) {
  const load::ExecRequest& request = plan.request;
  point_at(request.argv, plan.argv);
  point_at(plan.env, plan.envp);
  return -static_cast<int>(raw_call(SYS_execveat, word(request.dirfd), word(request.path.c_str()),
                                    word(plan.argv.data()), word(plan.envp.data()), word(request.flags)));
}

int run_managed(const Task& t, ExecPlan& plan) {
  plan.handover = encode(plan.config);
  const int memfd = static_cast<int>(raw_call(SYS_memfd_create, word("hpc-vmm-exec"), 0));
  if (memfd < 0) return -memfd;
  raw_call(SYS_write, word(memfd), word(plan.handover.data()), plan.handover.size());
  const int kept = keep_across_exec(t, memfd);
  raw_call(SYS_close, word(memfd));
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "%d", kept);
  plan.arguments = {kExecMark, number.data()};
  plan.arguments.insert(plan.arguments.end(), plan.program.argv.begin(), plan.program.argv.end());
  point_at(plan.arguments, plan.argv);
  point_at(plan.env, plan.envp);
  const auto rc = raw_call(SYS_execveat, word(plan.config.self_fd), word(""), word(plan.argv.data()),
                           word(plan.envp.data()), AT_EMPTY_PATH);
  drop_kept(t, kept);
  return -static_cast<int>(rc);
}

/// Hands the program over to hpc-vmm itself.  Returns only on failure, the guest's errno.
int hand_over(Task& t, ExecPlan& plan, std::uint64_t mask) {
  // exec does the same; before it, what is kept for the new image would appear in the parent's table.
  if (t.vfork_child) raw_call(SYS_unshare, CLONE_FILES);
  const Process& p = *t.process;
  // A number from here on: the plan is freed where it may mean another file.
  const int program_fd = plan.program.fd.release();
  ExecConfig& config = plan.config;
  config.options = p.options;
  config.options.node = home_of(t).wanted();
  config.program_fd = keep_across_exec(t, program_fd);
  config.execfn = plan.program.execfn;
  config.path = plan.program.path;
  config.secure = plan.program.secure;
  config.mask = mask;
  config.cpuid = engine::kvm::cpuid_bytes();
  config.nofile_hard = p.nofile_hard;
  config.kvm_fd = keep_across_exec(t, kvm_fd());
  config.self_fd = keep_across_exec(t, self_fd());
  config.options.trace_fd = keep_across_exec(t, p.options.trace_fd);
  config.options.summary_fd = keep_across_exec(t, p.options.summary_fd);
  config.options.cluster_fd = keep_across_exec(t, cluster_fd());
  config.options.view_fd = keep_across_exec(t, view_fd());
  config.options.accounts_fd = keep_across_exec(t, accounts_fd());
  // What a vfork child has used before its first program stays its parent's.
  const CpuTime used = t.vfork_child ? CpuTime{} : thread_used_away(t);
  config.used_user_us = used.user;
  config.used_system_us = used.system;
  if (const std::unique_ptr<wire::view::CpuSet> cpus = copy_affinity(t); cpus != nullptr)
    config.affinity = view::cpu_list(*cpus);
  if (p.seccomp != nullptr) config.seccomp = seccomp_encode(*p.seccomp);
  const int error = run_managed(t, plan);
  drop_kept(t, config.program_fd);
  drop_kept(t, config.kvm_fd);
  drop_kept(t, config.self_fd);
  drop_kept(t, config.options.trace_fd);
  drop_kept(t, config.options.summary_fd);
  drop_kept(t, config.options.cluster_fd);
  drop_kept(t, config.options.view_fd);
  drop_kept(t, config.options.accounts_fd);
  raw_call(SYS_close, word(program_fd));
  return error;
}

}  // namespace

int execute(Task& t) {
  ExecPlan& plan = *t.exec;
  load::ExecRequest& request = plan.request;
  load::Program& program = plan.program;
  if (request.dirfd >= 0 && is_hidden(request.dirfd)) return EBADF;
  if (is_own_exe_path(t, request.path.c_str())) request.path = t.process->exe;
  if (const int e = check(request, program)) return e;
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) return ERESTART;
  int error = 0;
  const ExitWordsOff words(t);
  if (program.native != load::Native::No) {
    if (t.process->options.verbose)
      say("hpc-vmm: %s runs natively, unmanaged: %s\n", program.path.c_str(),
          program.native == load::Native::Unreadable
              ? "it cannot be read"
              : "it has set-user-ID, set-group-ID or file capabilities");
    const int program_fd = program.fd.release();  // close-on-exec; see hand_over
    const std::uint64_t host = mask & ~kForcedSignals;
    raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&host), 0, 8);
    error = run_native(plan);
    if (program_fd >= 0) raw_call(SYS_close, word(program_fd));
  } else {
    error = hand_over(t, plan, mask);
  }
  set_guest_mask(t, mask);
  return error;
}

namespace {

/// Copies the guest's strings into the plan.  0 or an errno.
int read_plan(const CallContext& c, ExecPlan& plan, std::uint64_t path, std::uint64_t argv,
              std::uint64_t envp) {
  std::array<char, 4096> name{};
  const std::ptrdiff_t n = mem::copy_in_string(name.data(), path, name.size());
  if (n < 0) return EFAULT;
  if (n == static_cast<std::ptrdiff_t>(name.size())) return ENAMETOOLONG;
  plan.request.path = name.data();
  std::size_t total = 0;
  if (const int e = read_strings(argv, c.abi, plan.request.argv, total)) return e;
  return read_strings(envp, c.abi, plan.env, total);
}

SysRet exec_call(const CallContext& c, int dirfd, std::uint64_t path, std::uint64_t argv, std::uint64_t envp,
                 int flags) {
  Task& t = c.task;
  t.exec = std::make_shared<ExecPlan>();
  t.exec->request.dirfd = dirfd;
  t.exec->request.flags = flags;
  int error = read_plan(c, *t.exec, path, argv, envp);
  if (error == 0) error = execute(t);
  t.exec.reset();
  return error == ERESTART ? SysRet::restart() : SysRet::fail(error);
}
}  // namespace

SysRet call_execve(const CallContext& c) { return exec_call(c, AT_FDCWD, c.arg(0), c.arg(1), c.arg(2), 0); }

SysRet call_execveat(const CallContext& c) {
  return exec_call(c, c.as_int(0), c.arg(1), c.arg(2), c.arg(3), c.as_int(4));
}

}  // namespace hpcvmm::deputy
