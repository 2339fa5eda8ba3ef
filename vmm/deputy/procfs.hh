// /proc as the guest must see it: its own program and mappings, not the VMM's.
//
// Names are looked at before a call where the kernel would follow a link of /proc to the VMM (exe, fd/N);
// files whose text tells of the VMM (maps ...) or gives access to it (mem) are recognised after they have
// been opened, whatever name led there.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/deputy/task.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::deputy {

enum class ProcName : std::uint8_t {
  Other,
  Exe,      // the link to this process's own program
  HiddenFd  // a descriptor of the VMM
};
/// What the path that a guest handed over names.  `dir_fd`: where a relative one starts, or AT_FDCWD.  Bad
/// addresses are Other: the kernel will say EFAULT.
ProcName look_at_name(int dir_fd, std::uint64_t guest_path);
/// The same for a path in VMM memory.
ProcName look_at_own_name(int dir_fd, const char* path);
/// True if `path` (absolute) is this process's /proc/.../exe, which for the guest means t.process->exe.
bool is_own_exe_path(Task& t, const char* path);
/// True if `fd` was opened (O_PATH | O_NOFOLLOW) on the link itself.
bool is_own_exe_link(int fd);

/// To be called with the result of every open of the guest.  Closes memory files (EACCES) and puts the
/// guest's view in the place of maps-like files of this process; returns the result the guest gets.
sys::SysRet guard_opened(Task& t, sys::SysRet opened);

/// open(2) of a file that holds this text, read-only.
sys::SysRet open_text(const std::string& text, bool cloexec);

enum class ProcDir : std::uint8_t { Other, Descriptors, MapFiles, Tasks };
/// Which directory with names of the VMM's the guest is listing.
ProcDir proc_directory(int fd);
/// An entry of map_files ("begin-end") that is the VMM's.
bool names_vmm_mapping(const char* name);
/// A thread of this process that the guest has not made (the host's KVM runs some in it).
bool names_foreign_task(const Task& t, const char* name);
/// Reads a whole decimal descriptor number.
bool parse_fd(const char* name, int& fd);

}  // namespace hpcvmm::deputy
