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

/// While it lives, a vfork child may (Home::vfork_begins).
class Vfork {
 public:
  explicit Vfork(const Task& t) : home_(home_of(t).vfork_begins() ? &home_of(t) : nullptr) {}
  Vfork(const Vfork&) = delete;
  Vfork& operator=(const Vfork&) = delete;
  ~Vfork() {
    if (home_ != nullptr) home_->vfork_ends();
  }

 private:
  migrate::Home* const home_;
};

/// While it lives, a thread may wait for a private futex here: wakers on another node are told to ask here
/// too.
class WaitAtHome {
 public:
  explicit WaitAtHome(const Task& t) : home_(home_of(t).joined() ? &home_of(t) : nullptr) {
    if (home_ != nullptr) home_->wait_begins();
  }
  WaitAtHome(const WaitAtHome&) = delete;
  WaitAtHome& operator=(const WaitAtHome&) = delete;
  ~WaitAtHome() {
    if (home_ != nullptr) home_->wait_ends();
  }

 private:
  migrate::Home* const home_;
};

/// Tells vmm/migrate how this process hides descriptors and names its threads.  Once, at start.
void set_migrate_hooks();

}  // namespace hpcvmm::deputy
