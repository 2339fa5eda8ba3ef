#include "vmm/migrate/asked.hh"

#include <sys/syscall.h>

#include "vmm/sys/passthrough.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::migrate {
namespace {

using names::Asked;
using names::Layout;
using sys::Call;

/// The x86-64 call that does the same with the same words, but for the layouts of what they point at.
std::uint64_t number_of(const sys::Row& row) {
  switch (row.call) {
    case Call::stat64: return SYS_stat;
    case Call::lstat64: return SYS_lstat;
    case Call::fstat64: return SYS_fstat;
    case Call::fstatat64: return SYS_newfstatat;
    case Call::fcntl64: return SYS_fcntl;
    case Call::mmap2: return SYS_mmap;
    case Call::ugetrlimit: return SYS_getrlimit;
    case Call::umount: return SYS_umount2;
    default: break;
  }
  const int number = row.twin ? row.twin_nr : row.nr64;
  return number >= 0 ? static_cast<std::uint64_t>(number) : Asked::kOther;
}

Layout layout_of(Call call) {
  switch (call) {
    case Call::stat:
    case Call::lstat:
    case Call::fstat: return Layout::Stat32;
    case Call::stat64:
    case Call::lstat64:
    case Call::fstat64:
    case Call::fstatat64: return Layout::Stat64;
    default: return Layout::Stat;
  }
}

}  // namespace

names::Asked asked_of(const GuestRegs& regs, Abi abi) {
  const sys::Args words = sys::call_args(regs, abi);
  Asked asked;
  if (abi == Abi::X64) {
    asked.number = regs.rax;
    asked.words = words;
    return asked;
  }
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(regs.rax));
  if (row == nullptr) return asked;
  if (row->call == Call::_llseek) {
    asked.number = SYS_lseek;
    asked.words = {words[0], words[1] << 32U | words[2], words[4], words[3], 0, 0};
    asked.seeks_far = true;
    return asked;
  }
  asked.number = number_of(*row);
  asked.layout = layout_of(row->call);
  asked.is_small = true;
  for (unsigned i = 0; i < sys::shape_of(*row).count; ++i)
    asked.words[i] = sys::arg_value(*row, abi, words, i);
  return asked;
}

}  // namespace hpcvmm::migrate
