#include "vmm/deputy/launch.hh"
#include "vmm/deputy/accounts.hh"

#include <fcntl.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guest-agent/vdso/vdso.hh"
#include "guest-agent/view/cpu_text.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/debug.hh"
#include "vmm/deputy/dispatch.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/names.hh"
#include "vmm/deputy/numbers.hh"
#include "vmm/deputy/seccomp.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/kvm/machine.hh"
#include "vmm/load/images.hh"
#include "vmm/load/loader.hh"
#include "vmm/load/program.hh"
#include "vmm/load/regs.hh"
#include "vmm/load/stack.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/remote.hh"
#include "vmm/probe/blob_cache.hh"
#include "vmm/probe/engine_facts.hh"
#include "vmm/share/server/server.hh"

extern "C" [[noreturn]] void hpcvmm_on_stack(void* top, void (*start)(void*), void* arg);

namespace hpcvmm::deputy {
namespace {

int g_kvm_fd = -1;      // NOLINT: set at start; host.cc moves it when the guest wants the number
int g_self_fd = -1;     // NOLINT
int g_cluster_fd = -1;  // NOLINT

/// Everything start() needs; on the heap, because the stack of main() becomes the guest's.
struct Start {
  ExecConfig config;
  load::Program program;
  load::Images images;
  std::vector<std::string> env;
  wire::local::Settings settings{};
  load::HostAux aux;
  mem::HostStack stack;
  vdso::HostVdso vdso;
  engine::Kind kind = engine::Kind::Kvm;
  bool executed = false;  // by a guest, not launched
  // Where what KVM offers in CPUID is to be stored; empty: it is known.
  std::string cpuid_cache, cache_key;
};

/// Makes the host's own pages of memory that the guest may write and almost surely will.  KVM without nested
/// paging then maps eight neighbours at the guest's first touch of one; each would cost a trip of its own.
void bring_pages(std::uint64_t begin, std::uint64_t end) {
  // What cannot be had (the file ends before it, a kernel before 5.14) comes when it is touched, or does not.
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
}

class MmMapper final : public load::Mapper {
 public:
  MmMapper(mem::Mm& mm, Abi abi) : mm_(mm), abi_(abi) {}
  std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int fd,
                   std::uint64_t off) override {
    const std::int64_t at = mm_.map(abi_, addr, bytes, prot, flags, fd, off).value();
    if (at >= 0 && (prot & PROT_WRITE) != 0) written_.push_back({static_cast<std::uint64_t>(at), bytes});
    return at;
  }
  std::int64_t unmap(std::uint64_t addr, std::uint64_t bytes) override {
    return mm_.unmap(addr, bytes).value();
  }
  bool zero(std::uint64_t addr, std::uint64_t bytes) override {
    static constexpr std::array<char, kPageSize> kZeros{};
    return bytes <= kZeros.size() && mem::copy_out(addr, kZeros.data(), bytes);
  }

  /// Brings the first pages of what the program may write.  To be called when all is mapped.
  void bring_written() const {
    for (const Part& p : written_) bring_pages(p.begin, p.begin + std::min(p.bytes, kMostBrought));
  }

 private:
  struct Part {
    std::uint64_t begin, bytes;
  };
  static constexpr std::uint64_t kMostBrought = std::uint64_t{64} << 10;

  mem::Mm& mm_;
  Abi abi_;
  std::vector<Part> written_;
};

/// The program is gone, the new one cannot run: as Linux, which kills with SIGSEGV (or SIGKILL for lack of
/// memory).
[[noreturn]] void die_late(const char* why, int error, int signo) {
  if (signo == SIGKILL)
    say("hpc-vmm: %s: errno %d; ending pid %d\n", why, error, static_cast<int>(raw_call(SYS_getpid)));
  const std::uint64_t none = 0;
  ::signal(signo, SIG_DFL);
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&none), 0, 8);
  raw_call(SYS_kill, static_cast<std::uint64_t>(raw_call(SYS_getpid)), word(signo));
  raw_call(SYS_exit_group, 125);
  __builtin_unreachable();
}

std::unique_ptr<engine::Engine> make_engine(const Start& s) {
  if (s.kind == engine::Kind::Direct) {
    engine::DirectConfig config;
    config.alloc = [](std::size_t bytes, std::size_t align) { return mem::arena_map(bytes, align); };
    config.ia32 = false;  // judged when the engine was chosen
    auto made = engine::make_direct_engine(config);
    if (!made) die_late(made.error().op, made.error().code, SIGKILL);
    set_installer([](int signo, unsigned long flags, HostHandler h) {
      static_cast<void>(
          engine::install_host_handler(signo, flags & ~static_cast<unsigned long>(SA_RESETHAND), h));
    });
    return *std::move(made);
  }
  engine::kvm::KvmConfig config;
  config.kvm_fd = &g_kvm_fd;
  config.make_fd = [](int (*make)(void*), void* arg, int* owner) {
    constexpr std::uint64_t kLimitUs = 20;  // a thread is being made
    begin_own_numbers(kLimitUs);
    int fd = -1;
    {
      const FdRoom room;
      fd = make(arg);
      if (fd >= 0) hide_fd(fd, owner);
    }
    end_own_numbers();
    return fd >= 0;
  };
  config.close_fd = close_hidden;
  config.copy_in = mem::copy_in;
  config.host_vdso = s.vdso.range_begin;
  config.host_vdso_bytes = s.vdso.range_end - s.vdso.range_begin;
  config.host_vdso_later = true;
  auto made = engine::kvm::make_kvm_engine(config);
  if (!made) die_late(made.error().op, made.error().code, SIGKILL);
  return *std::move(made);
}

/// Maps our vDSO image with its table page in front.  Returns the image's address; 0: none (clocks cost a
/// call).
std::uint64_t map_vdso(const Start& s, Process& p, Abi abi) {
  const auto image = abi == Abi::X64 ? vdso::image64() : vdso::image32();
  const std::uint64_t bytes = HPCVMM_VDSO_TABLE_BYTES + page_up(image.size());
  const sys::SysRet at = p.mm->map(abi, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at.is_error()) return 0;
  const auto base = static_cast<std::uint64_t>(at.value());
  alignas(8) std::array<char, HPCVMM_VDSO_TABLE_BYTES> table{};
  const vdso::HostVdso& host = s.vdso;
  if (host.range_begin != 0 && abi == Abi::X64) {
    const std::uint64_t seen =
        p.engine_kind == engine::Kind::Kvm ? engine::kvm::host_vdso_address() : host.range_begin;
    host.fill_table(table.data(), seen - host.range_begin);
  } else {
    vdso::fill_empty_table(table.data());
  }
  const std::uint64_t code = base + HPCVMM_VDSO_TABLE_BYTES;
  static_cast<void>(mem::copy_out(base, table.data(), table.size()));
  static_cast<void>(mem::copy_out(code, image.data(), image.size()));
  static_cast<void>(p.mm->protect(base, HPCVMM_VDSO_TABLE_BYTES, PROT_READ));
  static_cast<void>(p.mm->protect(code, page_up(image.size()), PROT_READ | PROT_EXEC));
  p.vdso = code;
  if (abi == Abi::Ia32) {
    p.vdso_sigreturn = code + vdso::symbols32().kernel_sigreturn;
    p.vdso_rt_sigreturn = code + vdso::symbols32().kernel_rt_sigreturn;
  }
  return code;
}

/// The stack mapping: x86-64 gets the one the kernel made for this process (its place, growth and limit are
/// right already), IA32 one below 4 GiB.  Returns its top.
std::uint64_t make_stack(Start& s, Process& p, Abi abi, bool exec) {
  const int prot = PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0);
  mem::Vma v;
  v.prot = static_cast<std::uint32_t>(PROT_READ | PROT_WRITE);
  v.grows_down = true;
  if (abi == Abi::X64) {
    ::madvise(reinterpret_cast<void*>(s.stack.begin), s.stack.end - s.stack.begin, MADV_DONTNEED);
    v.end = s.stack.end;
    p.mm->adopt(s.stack.begin, v);
    if (exec) static_cast<void>(p.mm->protect(s.stack.begin, s.stack.end - s.stack.begin, prot));
    return s.stack.end;
  }
  std::uint32_t noise = 0;
  if ((::personality(0xffff'ffff) & ADDR_NO_RANDOMIZE) == 0)
    static_cast<void>(::getrandom(&noise, sizeof noise, GRND_NONBLOCK));
  constexpr std::uint64_t kInitial = std::uint64_t{132} << 10;  // what the kernel gives a new program
  const std::uint64_t top = kTaskSize32 - (noise & 0x7ff) * kPageSize;
  const sys::SysRet at =
      p.mm->map(abi, top - kInitial, kInitial, prot,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN | MAP_STACK, -1, 0);
  if (at.is_error()) die_late("no room for the stack", static_cast<int>(-at.value()), SIGKILL);
  return top;
}

load::LoadOptions load_options() {
  load::LoadOptions o;
  o.personality = static_cast<unsigned>(::personality(0xffff'ffff));
  static_cast<void>(::getrandom(o.random.data(), sizeof o.random, GRND_NONBLOCK));
  return o;
}

load::StackImage fill_stack(Start& s, const load::Loaded& loaded, std::uint64_t top, std::uint64_t vdso_at) {
  load::StackInput in;
  load::describe_image(loaded, in);
  in.top = top;
  in.execfn = s.program.execfn;
  const std::vector<std::string_view> argv(s.program.argv.begin(), s.program.argv.end());
  const std::vector<std::string_view> envp(s.env.begin(), s.env.end());
  in.argv = argv;
  in.envp = envp;
  in.vdso = vdso_at;
  if (loaded.abi == Abi::Ia32 && vdso_at != 0) in.vsyscall = vdso_at + vdso::symbols32().kernel_vsyscall;
  in.uid = ::getuid();
  in.euid = ::geteuid();
  in.gid = ::getgid();
  in.egid = ::getegid();
  in.secure = s.program.secure;
  in.host = s.aux;
  static_cast<void>(::getrandom(in.random.data(), in.random.size(), GRND_NONBLOCK));
  if ((::personality(0xffff'ffff) & ADDR_NO_RANDOMIZE) == 0)
    static_cast<void>(::getrandom(&in.shift_bytes, sizeof in.shift_bytes, GRND_NONBLOCK));
  in.shift_bytes %= 8192;
  load::StackImage image = load::build_stack(in);
  if (!mem::copy_out(image.sp, image.bytes.data(), image.bytes.size())) die_late("stack", EFAULT, SIGSEGV);
  return image;
}

/// The same for the pages that a program's first functions use: the eight around its stack pointer.
void bring_stack(std::uint64_t sp, std::uint64_t top) {
  constexpr std::uint64_t kNeighbours = 8 * kPageSize;
  const std::uint64_t begin = (sp - kPageSize) / kNeighbours * kNeighbours;
  bring_pages(begin, std::min(begin + kNeighbours, top));
}

std::string absolute_path(int fd) {
  std::array<char, 32> link{};
  std::array<char, 4096> path{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  const ssize_t n = ::readlink(link.data(), path.data(), path.size() - 1);
  return n > 0 ? std::string(path.data(), static_cast<std::size_t>(n)) : std::string();
}

/// Registers with the hpcd of the home node, where there is one, and goes where it shall run.
void join_cluster(Start& s, Task& t) {
  const Options& o = s.config.options;
  const Process& p = *t.process;
  migrate::Identity who;
  if (!s.executed) adopt_host_affinity(t, o.node);
  if (wire::view::CpuSet cpus; view::parse_cpu_list(s.config.affinity, cpus) && !cpus.empty())
    t.affinity = std::make_unique<wire::view::CpuSet>(cpus);
  who.node = place_for(t, o.node);
  who.ia32 = p.abi == Abi::Ia32;
  who.vdso_table = p.vdso != 0 ? p.vdso - HPCVMM_VDSO_TABLE_BYTES : 0;
  who.exe = p.exe;
  const std::uint64_t vdso =
      p.engine_kind == engine::Kind::Kvm ? engine::kvm::host_vdso_address() : s.vdso.range_begin;
  who.host_vdso_begin = vdso;
  who.host_vdso_end = vdso + (s.vdso.range_end - s.vdso.range_begin);
  const std::size_t slash = s.program.execfn.rfind('/');
  who.comm = s.program.execfn.substr(slash == std::string::npos ? 0 : slash + 1);
  who.same_process = s.executed;
  who.settings = s.settings;
  if (o.trace_fd >= 0 || t.debug != nullptr || p.seccomp != nullptr) home_of(t).forbid_local_calls();
  set_viewed_process(t.process.get());
  std::string why;
  if (auto ok = home_of(t).start(*p.mm, who); !ok) {
    why = ok.error().code == ENOENT || ok.error().code == ECONNREFUSED || g_cluster_fd < 0
              ? "there is no cluster here; `hpc-vmm up` starts one"
              : std::string(ok.error().op) + ": errno " + std::to_string(ok.error().code);
  } else {
    static_cast<void>(home_of(t).start_there(why));
  }
  tell_affinity(t);
  if (o.node == 0 || why.empty()) return;
  if (s.executed) {
    if (o.verbose) say("hpc-vmm: pid %d stays at home: %s\n", t.tid, why.c_str());
    return;
  }
  say("hpc-vmm: --node %u: %s\n", o.node, why.c_str());
  raw_call(SYS_exit_group, 125);
}

[[noreturn]] void run(Start& s) {
  auto process = std::make_shared<Process>();
  auto* const t = new Task;  // lives as long as the process
  process->signals = std::make_shared<SignalTable>();
  process->options = s.config.options;
  process->engine_kind = s.kind;
  const Abi abi = s.program.header.abi;
  process->abi = abi;
  process->nofile_hard = s.config.nofile_hard;
  process->exe = absolute_path(s.program.fd.get());
  if (!s.config.seccomp.empty()) process->seccomp = seccomp_decode(s.config.seccomp);
  process->mm = std::make_shared<mem::Mm>(std::make_unique<migrate::MobileEngine>(make_engine(s)));
  t->process = process;
  t->tid = static_cast<int>(raw_call(SYS_gettid));
  auto vcpu = process->mm->engine().make_vcpu();
  if (!vcpu) die_late(vcpu.error().op, vcpu.error().code, SIGKILL);
  t->owned_vcpu = *std::move(vcpu);
  if (!s.cpuid_cache.empty()) probe::store_blob(s.cpuid_cache, s.cache_key, engine::kvm::cpuid_bytes());
  t->vcpu = t->owned_vcpu.get();
  t->used_before_exec = {s.config.used_user_us, s.config.used_system_us};
  process->tasks.push_back(t);
  set_self(t);
  set_migrate_hooks();
  start_signals(*process->signals);  // from here on copy_out survives bad addresses

  MmMapper mapper(*process->mm, abi);
  const load::Loaded loaded = load::load_program(mapper, s.program.fd.get(), s.images, load_options());
  if (!loaded.verdict.ok()) die_late(loaded.verdict.why, loaded.verdict.error, SIGSEGV);
  process->read_implies_exec = loaded.read_implies_exec;
  process->mm->set_brk(loaded.brk);
  const std::uint64_t top = make_stack(s, *process, abi, loaded.exec_stack);
  const std::uint64_t vdso_at = map_vdso(s, *process, abi);
  const load::StackImage stack = fill_stack(s, loaded, top, vdso_at);
  if (s.kind == engine::Kind::Kvm) {
    mapper.bring_written();
    bring_stack(stack.sp, top);
  }
  set_names(s.program.execfn.c_str(), loaded, stack, *process->mm);
  t->vcpu->regs() = load::initial_regs(abi, loaded.entry, stack.sp);
  process->mm->prefill_all();
  join_cluster(s, *t);
  const std::uint64_t mask = s.config.mask;
  delete &s;  // closes the program and its interpreter
  set_guest_mask(*t, mask);
  const Options& o = process->options;
  if (o.gdb_port != 0 || !o.gdb_path.empty()) debug_start(*t, stack.auxv, stack.auxv_bytes);
  run_task(*t);
  // The leader called exit(2) while other threads go on: its host thread ended there.
  __builtin_unreachable();
}

/// Settles the engine for the program's ABI.  False with a message when there is none.
bool choose_engine(Start& s, std::string& message) {
  Options& o = s.config.options;
  const Abi abi = s.program.header.abi;
  if (!o.facts_known) {
    probe::EngineFacts facts;
    probe::load_or_measure_engines(facts);
    for (unsigned i = 0; i < 2; ++i) {
      o.kvm_run[i] = static_cast<std::uint8_t>(facts.kvm[i]);
      o.direct_run[i] = facts.direct[i];
    }
    o.facts_known = true;
  }
  probe::EngineFacts facts;
  for (unsigned i = 0; i < 2; ++i) {
    facts.kvm[i] = static_cast<probe::CodeRun>(o.kvm_run[i]);
    facts.direct[i] = o.direct_run[i];
  }
  // `--engine kvm` speaks of the launched program.  One of the other ABI that it executes later is not forced
  // into an emulator that cannot run it.
  const bool forced_to_emulate = o.engine == Options::Choice::Kvm && abi != o.chosen_for &&
                                 facts.kvm_run(abi) == probe::CodeRun::Emulated && facts.direct_runs(abi);
  const Options::Choice choice = forced_to_emulate ? Options::Choice::Auto : o.engine;
  std::string reason;
  const char* const name = abi == Abi::X64 ? "x86-64" : "ia32";
  if (choice == Options::Choice::Kvm) {
    if (g_kvm_fd < 0 || facts.kvm_run(abi) == probe::CodeRun::Absent) {
      message = "--engine kvm: /dev/kvm cannot run " + std::string(name) + " code here; see `hpc-vmm doctor`";
      return false;
    }
    s.kind = engine::Kind::Kvm;
    reason = "asked for with --engine";
  } else if (choice == Options::Choice::Direct) {
    if (!facts.direct_runs(abi)) {
      message = "--engine direct: this kernel cannot dispatch system calls of " + std::string(name) +
                " code; see `hpc-vmm doctor`";
      return false;
    }
    s.kind = engine::Kind::Direct;
    reason = "asked for with --engine";
  } else {
    const auto kind = probe::choose_engine(abi, facts, reason);
    if (!kind) {
      message = reason;
      return false;
    }
    s.kind = *kind;
  }
  if (o.verbose)
    say("hpc-vmm: %s: engine %s for %s code: %s\n", s.program.path.c_str(),
        s.kind == engine::Kind::Kvm ? "kvm" : "direct", name, reason.c_str());
  return true;
}

/// KVM_GET_SUPPORTED_CPUID takes 0.5 ms here, so its answer is kept beside the engine facts.
void find_cpuid(Start& s) {
  const std::string facts = probe::engine_cache_path();
  if (facts.empty()) return;
  const std::string path = facts + "-cpuid";
  const std::string& key = probe::engine_cache_key();
  engine::kvm::set_cpuid_bytes(probe::load_blob(path, key));
  if (!engine::kvm::cpuid_bytes().empty()) return;
  s.cpuid_cache = path;
  s.cache_key = key;
}

/// Leaves main()'s stack to the guest.
[[noreturn]] void enter(Start* s) {
  constexpr std::size_t kStackBytes = std::size_t{256} << 10;
  auto* const stack = static_cast<char*>(mem::arena_map(kStackBytes));
  if (stack == nullptr) die_late("no memory for the VMM's stack", ENOMEM, SIGKILL);
  hpcvmm_on_stack(
      stack + kStackBytes, [](void* arg) { run(*static_cast<Start*>(arg)); }, s);
}

/// Reads what is only to be had before the guest's memory is laid out.
void prepare(Start& s) {
  s.aux = load::host_aux();
  s.stack = mem::find_host_stack();
  // Without a host vDSO the guest's clocks cost a system call each.
  if (auto found = vdso::host_vdso()) s.vdso = *found;
  mem::set_host_vdso(s.vdso.range_begin, s.vdso.range_end);
  migrate::Home::read_environment();
  static char* empty[] = {nullptr};
  environ = empty;  // the strings lie on the stack that the guest is about to get
}

}  // namespace

int kvm_fd() { return g_kvm_fd; }
int self_fd() { return g_self_fd; }
int cluster_fd() { return g_cluster_fd; }

void serve_remote(bool prepare_kvm) { migrate::remote_main(hpcvmm_on_stack, prepare_kvm, share::serve_node); }

int launch(LaunchRequest request) {
  auto* const s = new Start;
  s->config.options = request.options;
  s->env = std::move(request.env);
  s->settings = request.settings;
  const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm >= 0) hide_fd(kvm, &g_kvm_fd);
  hide_fd(::open("/proc/self/exe", O_PATH | O_CLOEXEC), &g_self_fd);
  if (request.options.cluster_fd >= 0) hide_fd(request.options.cluster_fd, &g_cluster_fd);
  set_view_folder(request.options.view_fd);
  if (request.options.cluster_fd >= 0) make_accounts();
  const char* const name = request.program.path.c_str();
  load::Verdict v = load::resolve_program(request.program, s->program);
  if (v.ok() && s->program.native == load::Native::No) v = load::open_images(s->program.fd.get(), s->images);
  if (!v.ok()) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no second thread yet
    say("hpc-vmm: %s: %s (%s)\n", name, std::strerror(v.error), v.why);
    return v.error == ENOENT ? 127 : 126;
  }
  if (s->program.native != load::Native::No || s->images.interp_unreadable) {
    if (request.options.verbose)
      say("hpc-vmm: %s runs natively, unmanaged: it has set-user-ID, set-group-ID or file capabilities, or "
          "cannot be read\n",
          name);
    std::vector<char*> argv;
    for (std::string& a : request.program.argv) argv.push_back(a.data());
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (std::string& e : s->env) envp.push_back(e.data());
    envp.push_back(nullptr);
    ::execve(name, argv.data(), envp.data());
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no second thread yet
    say("hpc-vmm: %s: %s\n", name, std::strerror(errno));
    return 126;
  }
  std::string message;
  s->config.options.chosen_for = s->program.header.abi;
  if (!choose_engine(*s, message)) {
    say("hpc-vmm: %s\n", message.c_str());
    return 125;
  }
  raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, word(&s->config.mask), 8);
  if (s->kind == engine::Kind::Kvm) find_cpuid(*s);
  prepare(*s);
  enter(s);
}

void continue_exec(int argc, char** argv, char** envp) {
  auto* const s = new Start;
  s->executed = true;
  const int fd = argc > 1 ? std::atoi(argv[1]) : -1;
  std::string bytes;
  std::array<char, 4096> piece{};
  std::int64_t n = 0;
  std::uint64_t at = 0;
  while ((n = raw_call(SYS_pread64, word(fd), word(piece.data()), piece.size(), at)) > 0) {
    bytes.append(piece.data(), static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  raw_call(SYS_close, word(fd));
  if (!decode(bytes, s->config)) die_late("exec: damaged hand-over", EPROTO, SIGKILL);
  for (int* keep : {&s->config.options.trace_fd, &s->config.options.summary_fd})
    if (*keep >= 0) *keep = hide_fd(*keep);
  if (s->config.kvm_fd >= 0) hide_fd(s->config.kvm_fd, &g_kvm_fd);
  if (s->config.options.cluster_fd >= 0) hide_fd(s->config.options.cluster_fd, &g_cluster_fd);
  set_view_folder(s->config.options.view_fd);
  set_accounts(s->config.options.accounts_fd);
  hide_fd(s->config.self_fd, &g_self_fd);
  engine::kvm::set_cpuid_bytes(s->config.cpuid);
  s->program.fd = UniqueFd(s->config.program_fd);
  s->program.execfn = s->config.execfn;
  s->program.path = s->config.path;
  s->program.secure = s->config.secure;
  for (int i = 2; i < argc; ++i) s->program.argv.emplace_back(argv[i]);
  for (char** e = envp; *e != nullptr; ++e) s->env.emplace_back(*e);
  std::array<std::byte, load::kHeadBytes> head{};
  n = raw_call(SYS_pread64, word(s->program.fd.get()), word(head.data()), head.size(), 0);
  if (n < 0) n = 0;
  s->program.header =
      load::parse_header(std::span(head).first(static_cast<std::size_t>(n)), load::Role::Program);
  load::Verdict v = s->program.header.verdict;
  if (v.ok()) v = load::open_images(s->program.fd.get(), s->images);
  // It was right a moment ago; Linux, too, kills when a program changes behind the point of no return.
  if (!v.ok()) die_late(v.why, v.error, SIGSEGV);
  std::string message;
  if (!choose_engine(*s, message)) die_late(message.c_str(), ENOEXEC, SIGKILL);
  prepare(*s);
  enter(s);
}

}  // namespace hpcvmm::deputy
