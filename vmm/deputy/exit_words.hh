// The guest's words that the kernel writes when a thread ends: the tid word of CLONE_CHILD_CLEARTID and the
// robust futexes.
//
// The kernel does not wait for a page of an ending thread (handle_userfault() gives up on PF_EXITING), and
// behind exec's point of no return nobody is left to fetch one.  So a process that may have pages on another
// node has this done by the VMM while the thread still lives.  Source: Linux mm/userfaultfd.c,
// kernel/futex/core.c, robust-futexes.rst.
#pragma once

#include "vmm/deputy/task.hh"

namespace hpcvmm::deputy {

/// Does by hand what the kernel would do for the calling thread `t`, and takes the words off the kernel's
/// hands.  To be called as the guest's last act of the thread: whoever joins it may go on at once.
void finish_exit_words(Task& t);

/// While it lives, the kernel knows none of the words, if some page may be away; they are given back unless
/// exec succeeds.  In a vfork child they are left alone: its parent's threads live on and fetch what is
/// missing.
class ExitWordsOff {
 public:
  explicit ExitWordsOff(const Task& t);
  ExitWordsOff(const ExitWordsOff&) = delete;
  ExitWordsOff& operator=(const ExitWordsOff&) = delete;
  ~ExitWordsOff();

 private:
  const Task& task_;
  const bool off_;
};

}  // namespace hpcvmm::deputy
