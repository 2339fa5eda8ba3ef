// The ELF files of one program: itself and its PT_INTERP, opened and parsed, nothing mapped.
#pragma once

#include <string>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/load/elf.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

struct Images {
  ElfPlan program;
  ElfPlan interp;      // meaningful if `interp_fd`
  UniqueFd interp_fd;  // empty for a program without PT_INTERP, or if `interp_unreadable`
  std::string interp_path;
  bool interp_unreadable = false;  // may be executed but not read: run the program natively
};

/// Reads the headers of `fd` and of the interpreter it names (a relative path starts at the cwd), in Linux's
/// order. Errors: ENOEXEC, ELIBBAD, EIO (a file shorter than its headers say), ENOMEM (the VMM's zone), and
/// those of open_executable() for the interpreter.  `late` faults of the plans are not reported here.
/// Threads: any.
Verdict open_images(int fd, Images& out);

/// For the old image, before the point of no return: the errno execve(2) has to return, or ok.
inline Verdict validate(int fd) {
  Images images;
  return open_images(fd, images);
}

}  // namespace hpcvmm::load
