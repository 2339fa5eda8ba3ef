#include "vmm/deputy/home.hh"

#include <sys/syscall.h>

#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/deputy/low_memory.hh"
#include "vmm/deputy/names.hh"
#include "vmm/deputy/numbers.hh"
#include "vmm/deputy/share.hh"
#include "vmm/migrate/host.hh"

namespace hpcvmm::deputy {

void set_migrate_hooks() {
  migrate::HostHooks hooks;
  hooks.hide_fd = hide_fd;
  hooks.close_fd = close_hidden;
  hooks.is_hidden = is_hidden;
  hooks.begin_own_numbers = begin_own_numbers;
  hooks.end_own_numbers = end_own_numbers;
  hooks.say = say;
  hooks.thread_id = [] { return self().tid; };
  // A vfork child is a process of its own on its parent's memory.
  hooks.process_id = [] { return self().vfork_child ? self().tid : static_cast<int>(raw_call(SYS_getpid)); };
  hooks.cluster_fd = cluster_fd;
  hooks.affinity = set_affinity_from_outside;
  hooks.start_share_server = start_share_server;
  hooks.open_small = open_small;
  hooks.leaves = show_copied_names;
  hooks.is_back = show_own_names;
  hooks.used_away = note_used_away;
  migrate::set_host_hooks(hooks);
}

}  // namespace hpcvmm::deputy
