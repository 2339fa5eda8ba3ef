#include "vmm/probe/engine_facts.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

namespace hpcvmm::probe {
namespace {

constexpr std::string_view kMagic = "hpc-vmm host-facts 1\n";
constexpr std::array kAbis{Abi::X64, Abi::Ia32};
constexpr std::size_t kMaxCacheBytes = 1024;

/// Up to kMaxCacheBytes of an open file; empty on error.
std::string read_all(const UniqueFd& fd) {
  char buffer[kMaxCacheBytes];
  std::size_t held = 0;
  while (held < sizeof(buffer)) {
    const ssize_t got = ::read(fd.get(), buffer + held, sizeof(buffer) - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {};
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
  }
  return {buffer, held};
}

/// Takes "line\n" off the front of `text`; nothing when there is no complete line.
std::optional<std::string_view> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

/// The value of a line "<what> <abi> <value>", or nothing.
std::optional<std::string_view> field(std::string_view line, std::string_view what, Abi abi) {
  for (const std::string_view part : {what, to_string(abi)}) {
    if (!line.starts_with(part) || line.size() <= part.size() || line[part.size()] != ' ')
      return std::nullopt;
    line.remove_prefix(part.size() + 1);
  }
  return line;
}

std::optional<CodeRun> parse_run(std::string_view text) {
  for (const CodeRun run : {CodeRun::Absent, CodeRun::Emulated, CodeRun::Native})
    if (text == to_string(run)) return run;
  return std::nullopt;
}

void make_parents(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0700);  // what fails here fails again, with a name, in open()
}

}  // namespace

std::string_view to_string(CodeRun run) {
  switch (run) {
    case CodeRun::Absent: return "absent";
    case CodeRun::Emulated: return "emulated";
    case CodeRun::Native: return "native";
  }
  return "absent";
}
std::string_view to_string(Abi abi) { return abi == Abi::X64 ? "x86-64" : "ia32"; }
std::string_view to_string(engine::Kind kind) { return kind == engine::Kind::Kvm ? "kvm" : "direct"; }

std::optional<engine::Kind> choose_engine(Abi abi, const EngineFacts& facts, std::string& reason) {
  const std::string name(to_string(abi));
  const CodeRun kvm = facts.kvm_run(abi);
  if (kvm == CodeRun::Native) {
    reason = "kvm: runs " + name + " code natively and isolates it";
    return engine::Kind::Kvm;
  }
  const std::string kvm_state = kvm == CodeRun::Emulated ? "KVM emulates " + name + " code here"
                                                         : "KVM cannot run " + name + " code here";
  if (facts.direct_runs(abi)) {
    reason = "direct: " + kvm_state + "; note that direct does not isolate the program";
    return engine::Kind::Direct;
  }
  reason = "no engine for " + name + " programs: " + kvm_state + ", and the direct engine lacks ";
  reason += abi == Abi::X64 ? "Syscall User Dispatch (Linux 5.11 or later, CONFIG_GENERIC_ENTRY)"
                            : "Syscall User Dispatch (Linux 5.11 or later) or IA32 emulation "
                              "(CONFIG_IA32_EMULATION; boot with ia32_emulation=on)";
  reason += kvm == CodeRun::Emulated
                ? ". Fix one of them, or accept emulation with --engine kvm"
                : ". Give this user /dev/kvm (group kvm, module kvm_intel or kvm_amd), or fix that";
  reason += "; 'hpc-vmm doctor' has the details";
  return std::nullopt;
}

bool conclusive(Outcome outcome, int failed_errno) {
  for (const int passing : {ENOMEM, EAGAIN, EMFILE, ENFILE, EINTR, EBUSY})
    if (failed_errno == passing) return false;
  return outcome == Outcome::Done || outcome == Outcome::Crashed;
}

bool measure_engines(EngineFacts& facts) {
  facts = {};
  bool sure = true;
  KvmBase base;
  sure &= conclusive(run_guarded(500, base, probe_kvm_run64), base.failed_errno);
  facts.kvm[static_cast<std::size_t>(Abi::X64)] = base.run64;
  if (base.run64 != CodeRun::Absent) {
    Kvm32 compat;
    sure &= conclusive(run_guarded(500, compat, probe_kvm_run32), compat.failed_errno);
    facts.kvm[static_cast<std::size_t>(Abi::Ia32)] = compat.run32;
  }
  Direct64 direct64;
  sure &= conclusive(run_guarded(300, direct64, probe_direct64), direct64.failed_errno);
  facts.direct[static_cast<std::size_t>(Abi::X64)] = direct64.dispatch;
  Direct32 direct32;
  sure &= conclusive(run_guarded(300, direct32, probe_direct32));
  facts.direct[static_cast<std::size_t>(Abi::Ia32)] = direct32.dispatch;
  return sure;
}

std::string engine_cache_path() {
  // NOLINTBEGIN(concurrency-mt-unsafe): the caller is single-threaded
  const char* const runtime = ::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') return std::string(runtime) + "/hpc-vmm/host-facts";
  const char* const home = ::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/hpc-vmm/host-facts";
  // NOLINTEND(concurrency-mt-unsafe)
  return {};
}

namespace {

std::string make_key() {
  const UniqueFd boot(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  std::string boot_id = boot ? read_all(boot) : std::string();
  if (!boot_id.empty() && boot_id.back() == '\n') boot_id.pop_back();
  utsname name{};
  ::uname(&name);
  struct stat kvm {};
  const bool present = ::stat("/dev/kvm", &kvm) == 0;
  // Access as well as identity: joining group kvm must not leave yesterday's "absent" in force.
  const bool usable = present && ::faccessat(AT_FDCWD, "/dev/kvm", R_OK | W_OK, AT_EACCESS) == 0;
  char text[256];
  const int bytes = std::snprintf(text, sizeof(text), "%s %s uid %u kvm %lu:%lu %u:%u %o %d", boot_id.c_str(),
                                  name.release, ::geteuid(), static_cast<unsigned long>(kvm.st_dev),
                                  static_cast<unsigned long>(kvm.st_ino), kvm.st_uid, kvm.st_gid, kvm.st_mode,
                                  usable ? 1 : 0);
  return {text, static_cast<std::size_t>(bytes) < sizeof(text) ? static_cast<std::size_t>(bytes)
                                                               : sizeof(text) - 1};
}

}  // namespace

const std::string& engine_cache_key() {
  static const std::string key = make_key();
  return key;
}

std::string format_engine_cache(const EngineFacts& facts, std::string_view key) {
  std::string text(kMagic);
  text.append("key ").append(key).append("\n");
  for (const Abi abi : kAbis) {
    text.append("kvm ").append(to_string(abi)).append(" ").append(to_string(facts.kvm_run(abi))).append("\n");
    text.append("direct ").append(to_string(abi)).append(facts.direct_runs(abi) ? " native\n" : " absent\n");
  }
  return text;
}

std::optional<EngineFacts> parse_engine_cache(std::string_view text, std::string_view key) {
  if (!text.starts_with(kMagic)) return std::nullopt;
  text.remove_prefix(kMagic.size());
  const auto key_line = take_line(text);
  if (!key_line || !key_line->starts_with("key ") || key_line->substr(4) != key) return std::nullopt;
  EngineFacts facts;
  for (const Abi abi : kAbis) {
    const auto kvm_line = take_line(text);
    const auto direct_line = take_line(text);
    if (!kvm_line || !direct_line) return std::nullopt;
    const auto kvm = field(*kvm_line, "kvm", abi);
    const auto direct = field(*direct_line, "direct", abi);
    const auto kvm_run = kvm ? parse_run(*kvm) : std::nullopt;
    const auto direct_run = direct ? parse_run(*direct) : std::nullopt;
    if (!kvm_run || !direct_run || *direct_run == CodeRun::Emulated) return std::nullopt;
    facts.kvm[static_cast<std::size_t>(abi)] = *kvm_run;
    facts.direct[static_cast<std::size_t>(abi)] = *direct_run == CodeRun::Native;
  }
  if (!text.empty()) return std::nullopt;
  return facts;
}

Status store_engine_cache(const EngineFacts& facts, const std::string& path) {
  if (path.empty()) return Error::of(ENOENT, "neither XDG_RUNTIME_DIR nor HOME is set");
  make_parents(path);
  const std::string fresh = path + "." + std::to_string(::getpid());
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::last("open host-facts");
  const std::string text = format_engine_cache(facts, engine_cache_key());
  const ssize_t written = ::write(fd.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    const Error error = Error::last("write host-facts");
    ::unlink(fresh.c_str());
    return error;
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    const Error error = Error::last("rename host-facts");
    ::unlink(fresh.c_str());
    return error;
  }
  return Unit{};
}

bool load_or_measure_engines(EngineFacts& facts, const std::string& path) {
  if (!path.empty()) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    const bool trusted = fd && ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) &&
                         status.st_uid == ::geteuid() && (status.st_mode & 022) == 0;
    if (trusted) {
      if (const auto cached = parse_engine_cache(read_all(fd), engine_cache_key())) {
        facts = *cached;
        return true;
      }
    }
  }
  // A failed store is no failure of this call: the next launch measures again.
  if (measure_engines(facts)) (void)store_engine_cache(facts, path);
  return false;
}

}  // namespace hpcvmm::probe
