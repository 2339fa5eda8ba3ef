// The deputy's access to its process's journeys (vmm/migrate).
#pragma once

#include "vmm/deputy/task.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/mobile.hh"

namespace hpcvmm::deputy {

inline migrate::Home& home_of(const Task& t) {
  return static_cast<migrate::MobileEngine&>(t.process->mm->engine()).home();
}

/// While it lives, the process is at home with all its pages.  On a guest thread in a host call, without
/// locks.
class AtHome {
 public:
  explicit AtHome(const Task& t) : task_(t) { home_of(task_).hold_at_home(); }
  AtHome(const AtHome&) = delete;
  AtHome& operator=(const AtHome&) = delete;
  ~AtHome() { home_of(task_).let_go(); }

 private:
  const Task& task_;
};

/// Tells vmm/migrate how this process hides descriptors and names its threads.  Once, at start.
void set_migrate_hooks();

}  // namespace hpcvmm::deputy
