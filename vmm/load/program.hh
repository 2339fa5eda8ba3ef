// From a path to the file that is to be loaded: permission, `#!` chains, and whether hpc-vmm may run it at
// all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/load/elf.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

/// The arguments of execveat(2), copied out of the guest.
struct ExecRequest {
  int dirfd = -100;  // AT_FDCWD
  std::string path;
  int flags = 0;  // AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
  std::vector<std::string> argv;
};

/// Why a program has to be started with the host's own execve instead, outside any micro-VM.
enum class Native : std::uint8_t {
  No,
  SetId,       // set-user-ID or set-group-ID, and it would change an id of this process
  FileCaps,    // file capabilities that would give this process something
  Unreadable,  // may be executed but not read: only the kernel can map it
};

struct Program {
  UniqueFd fd;         // the ELF file, readable, close-on-exec; empty when `native` is Unreadable
  std::string execfn;  // AT_EXECFN: the path as given, or /dev/fd/N for execveat(2) on a descriptor
  std::string path;    // what was opened last: `execfn`, or the interpreter of the last script
  std::vector<std::string> argv;  // never empty, as Linux >= 5.18 has it
  unsigned scripts = 0;           // how many `#!` lines were followed
  Native native = Native::No;
  bool secure = false;  // AT_SECURE: real and effective ids differ
  ElfHeader header;     // of `fd`
};

/// A file opened the way execve(2) opens one.
struct ExecFile {
  UniqueFd fd;  // readable; empty if `unreadable`
  bool unreadable = false;
  std::uint32_t mode = 0;  // st_mode, owner, group
  std::uint32_t uid = 0, gid = 0;
  bool nosuid = false;  // the mount ignores set-id bits and file capabilities
};

/// How the right to execute is found out.
enum class Probe : std::uint8_t {
  Kernel,  // execveat(AT_EXECVE_CHECK) where the kernel has it (6.14): exact, ETXTBSY and security modules
           // included
  Access,  // faccessat2(2) and the mount flags: what older kernels offer
};

/// Opens a file for execution, as Linux's do_open_execat does: a regular file, on a mount without noexec,
/// that the effective ids may execute.  Never blocks on a FIFO and never opens a device. Errors: those of
/// execveat(2): EACCES, ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, ETXTBSY, EMFILE, ...
Verdict open_executable(int dirfd, const char* path, int flags, ExecFile& out, Probe probe = Probe::Kernel);

/// The same for an interpreter (of a script, or PT_INTERP): a relative `path` starts at the cwd.
/// Errors: those of open_executable(), but EACCES for an empty path, which to the kernel is the cwd itself
/// here.
Verdict open_interpreter(const std::string& path, ExecFile& out);

/// Follows `#!` lines from the request to an ELF file; fills `out`.  Does not look further than the ELF file
/// header: validate() of images.hh does the rest. Errors: any of execveat(2); ENOEXEC for a text without
/// `#!`, so that a shell's fallback works; ELOOP for more than five scripts in a row; ENOENT for a script on
/// a close-on-exec descriptor; EINVAL for unknown flags. Threads: any; uses no state but the process's cwd,
/// root and credentials.
Verdict resolve_program(const ExecRequest& request, Program& out);

}  // namespace hpcvmm::load
