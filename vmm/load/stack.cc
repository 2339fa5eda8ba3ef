#include "vmm/load/stack.hh"

#include <cpuid.h>
#include <elf.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "hpcvmm/base/layout.hh"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

namespace hpcvmm::load {
namespace {

constexpr std::uint64_t kMaxStringBytes = 32 * kPageSize;           // MAX_ARG_STRLEN, NUL included
constexpr std::uint64_t kMinLimitBytes = std::uint64_t{128} << 10;  // ARG_MAX
constexpr std::uint64_t kMaxLimitBytes = std::uint64_t{6} << 20;    // three quarters of the default stack
constexpr std::uint64_t kTopBytes = 8;  // zero word at the very top; a 64-bit one for IA32 too
constexpr std::size_t kAuxMaxEntries = 26;

class Builder {
 public:
  explicit Builder(const StackInput& in) : in_(in), word_(in.abi == Abi::X64 ? 8 : 4) {}
  StackImage build();

 private:
  void aux(std::uint64_t type, std::uint64_t value) {
    aux_[aux_words_++] = type;
    aux_[aux_words_++] = value;
  }
  void fill_aux();
  std::uint64_t put_string(std::string_view s);
  void put_word(std::uint64_t value);
  [[nodiscard]] std::byte* at(std::uint64_t address) {
    return out_.bytes.data() + (address - (in_.top - out_.bytes.size()));
  }
  [[nodiscard]] std::string_view platform() const { return in_.abi == Abi::X64 ? "x86_64" : "i686"; }
  [[nodiscard]] std::uint64_t string_bytes() const;

  const StackInput& in_;
  const std::uint64_t word_;
  StackImage out_;
  std::array<std::uint64_t, 2 * kAuxMaxEntries> aux_{};
  std::size_t aux_words_ = 0;
  std::uint64_t next_ = 0;  // where the next string or word goes; everything is written upwards
  std::uint64_t platform_ = 0, random_ = 0;
};

std::uint64_t total_bytes(std::span<const std::string_view> strings) {
  std::uint64_t sum = 0;
  for (const std::string_view s : strings) sum += s.size() + 1;
  return sum;
}

std::uint64_t Builder::string_bytes() const {
  return total_bytes(in_.argv) + total_bytes(in_.envp) + in_.execfn.size() + 1;
}

std::uint64_t Builder::put_string(std::string_view s) {
  const std::uint64_t start = next_;
  std::memcpy(at(start), s.data(), s.size());
  next_ += s.size() + 1;  // the NUL is there: the buffer starts as zeros
  return start;
}

void Builder::put_word(std::uint64_t value) {
  std::memcpy(at(next_), &value, word_);  // little endian: the low bytes come first
  next_ += word_;
}

// The kernel's order.  Left out: AT_RSEQ_*, because rseq(2) is refused; a program must not expect it.
void Builder::fill_aux() {
  if (in_.abi == Abi::Ia32 && in_.vsyscall != 0) aux(AT_SYSINFO, in_.vsyscall);
  if (in_.vdso != 0) aux(AT_SYSINFO_EHDR, in_.vdso);
  if (in_.host.minsigstksz != 0) aux(AT_MINSIGSTKSZ, in_.host.minsigstksz);
  aux(AT_HWCAP, in_.host.hwcap);
  aux(AT_PAGESZ, kPageSize);
  aux(AT_CLKTCK, in_.host.clktck);
  aux(AT_PHDR, in_.phdr);
  aux(AT_PHENT, in_.abi == Abi::X64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
  aux(AT_PHNUM, in_.phnum);
  aux(AT_BASE, in_.interp_base);
  aux(AT_FLAGS, 0);
  aux(AT_ENTRY, in_.program_entry);
  aux(AT_UID, in_.uid);
  aux(AT_EUID, in_.euid);
  aux(AT_GID, in_.gid);
  aux(AT_EGID, in_.egid);
  aux(AT_SECURE, in_.secure ? 1 : 0);
  aux(AT_RANDOM, random_);
  aux(AT_HWCAP2, in_.host.hwcap2);
  aux(AT_EXECFN, out_.execfn);
  aux(AT_PLATFORM, platform_);
  aux(AT_NULL, 0);
}

StackImage Builder::build() {
  // Addresses first, downwards as Linux allocates; then the bytes, upwards.
  out_.execfn = in_.top - kTopBytes - (in_.execfn.size() + 1);
  out_.env_end = out_.execfn;
  out_.env_start = out_.env_end - total_bytes(in_.envp);
  out_.arg_end = out_.env_start;
  out_.arg_start = in_.top - kTopBytes - string_bytes();
  // Programs of one kind would else all use the same cache sets for their hottest stack lines.
  const std::uint64_t aligned = (out_.arg_start - in_.shift_bytes % 8192) & ~std::uint64_t{15};
  platform_ = aligned - (platform().size() + 1);
  random_ = platform_ - in_.random.size();
  fill_aux();
  const std::uint64_t pointers = in_.argv.size() + 1 + in_.envp.size() + 1 + 1;
  out_.auxv_bytes = aux_words_ * word_;
  out_.sp = (random_ - out_.auxv_bytes - pointers * word_) & ~std::uint64_t{15};
  out_.bytes.resize(in_.top - out_.sp);

  next_ = out_.sp + pointers * word_;
  out_.auxv = next_;
  for (std::size_t i = 0; i < aux_words_; ++i) put_word(aux_[i]);
  std::memcpy(at(random_), in_.random.data(), in_.random.size());
  next_ = platform_;
  put_string(platform());

  std::uint64_t slot = out_.sp;
  const auto pointer = [this, &slot](std::uint64_t value) {
    std::memcpy(at(slot), &value, word_);
    slot += word_;
  };
  pointer(in_.argv.size());
  next_ = out_.arg_start;
  for (const std::string_view s : in_.argv) pointer(put_string(s));
  pointer(0);
  for (const std::string_view s : in_.envp) pointer(put_string(s));
  put_string(in_.execfn);
  return std::move(out_);
}

}  // namespace

// The kernel's copy is asked (Linux 6.4), because glibc overwrites AT_HWCAP in its own with another set of
// bits.
HostAux host_aux() {
  constexpr int kGetAuxv = 0x41555856;  // PR_GET_AUXV; not in older headers
  HostAux out;
  out.hwcap2 = ::getauxval(AT_HWCAP2);
  out.minsigstksz = ::getauxval(AT_MINSIGSTKSZ);
  if (const std::uint64_t clktck = ::getauxval(AT_CLKTCK); clktck != 0) out.clktck = clktck;

  std::array<std::uint64_t, 128> vector{};
  if (::prctl(kGetAuxv, vector.data(), sizeof vector, 0, 0) <= 0) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) out.hwcap = edx;
    return out;
  }
  for (std::size_t i = 0; i + 1 < vector.size() && vector[i] != AT_NULL; i += 2) {
    if (vector[i] == AT_HWCAP) out.hwcap = vector[i + 1];
    if (vector[i] == AT_HWCAP2) out.hwcap2 = vector[i + 1];
  }
  return out;
}

Verdict check_arg_limits(std::string_view execfn, std::span<const std::string_view> argv,
                         std::span<const std::string_view> envp, std::size_t pointers,
                         std::uint64_t stack_rlimit) {
  const Verdict too_big = Verdict::fail(E2BIG, "arguments and environment are too long");
  std::uint64_t left = std::max(std::min(kMaxLimitBytes, stack_rlimit / 4), kMinLimitBytes);
  // Pointers count as 64-bit ones for IA32 too; an empty argv becomes one empty string.
  const std::uint64_t count = std::max<std::uint64_t>(pointers, envp.size() + 1);
  if (count > left / 8 || 8 * count == left) return too_big;
  left -= 8 * count;
  const auto fits = [&left](std::string_view s) {
    if (s.size() >= kMaxStringBytes || s.size() + 1 > left) return false;
    left -= s.size() + 1;
    return true;
  };
  if (!fits(execfn) || !std::all_of(envp.begin(), envp.end(), fits)) return too_big;
  return std::all_of(argv.begin(), argv.end(), fits) ? Verdict{} : too_big;
}

StackImage build_stack(const StackInput& in) { return Builder(in).build(); }

}  // namespace hpcvmm::load
