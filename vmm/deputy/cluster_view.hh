// The cluster as the guest sees it, where it is to see one: what hpcd publishes in run_dir/view.
#pragma once

#include <cstdint>
#include <string>

#include "hpcvmm/wire/view.hh"
#include "vmm/deputy/task.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::deputy {

/// Takes run_dir/view, open with O_PATH; -1: the guest sees the host.  Once, at start.
void set_view_folder(int fd);
/// Its hidden descriptor; -1: none.
int view_fd();

/// What hpcd says now.  False: the guest sees the host (asked for, no cluster, or its hpcd has gone).
bool read_cluster(wire::view::Cluster& c);
/// The numbers of a node; nullptr: it has none.
const wire::view::Node* find_node(const wire::view::Cluster& c, std::uint32_t id);
wire::view::CpuSet online_cpus(const wire::view::Cluster& c);
/// Where a process of this node runs, and the CPU time it has used away.  False: never away.
bool find_process(std::int32_t pid, wire::view::Process& found);

/// The number of host CPU `host_cpu` in the view, for a process on `node`; one of `affinity` where that has
/// CPUs of the node.
unsigned cpu_in_view(const wire::view::Node& node, unsigned host_cpu, const wire::view::CpuSet* affinity);
/// Where the calling process runs.
std::uint32_t own_place(const Task& t, const wire::view::Cluster& c);

/// A copy of what binds a thread (nullptr: nothing does), for one that it makes.
std::unique_ptr<wire::view::CpuSet> copy_affinity(const Task& t);
/// What the thread may run on, as sched_getaffinity says it.
wire::view::CpuSet effective_affinity(const wire::view::CpuSet* affinity, const wire::view::Cluster& c);
/// After a launch: --cpus and a narrower mask of the launching process become CPUs of the node it starts on.
void adopt_host_affinity(Task& t, std::uint32_t start_node);
/// The node where the process should start so that its affinity holds: `node` (0: home) if that will do.
std::uint32_t place_for(const Task& t, std::uint32_t node);
/// Tells hpcd what binds the process, so that nobody moves it elsewhere.
void tell_affinity(Task& t);
/// Another process has changed what binds this one (from hpcd).  Any thread.
void set_affinity_from_outside(const wire::view::CpuSet& cpus);
/// The process whose threads that is about.
void set_viewed_process(Process* p);

/// A name that means the cluster, as openat(view_fd, path) finds it.
struct ViewName {
  bool is_file = false;     ///< `path` counts
  bool is_text = false;     ///< open(2) gives `text`
  bool reads_only = false;  ///< who opens it for writing means the host's
  std::string path, text;
};
/// False: it is the host's.
bool find_view_name(Task& t, int dir_fd, std::uint64_t guest_path, ViewName& name);
/// A path that the kernel has told (getcwd, a link in /proc/self/fd): without run_dir/view in front.  True:
/// it was changed.
bool strip_view_prefix(std::string& path);
/// /proc/PID/stat's text with the view's CPU number, and with the time away.
std::string stat_in_view(const Task& t, std::string_view host, std::int64_t pid);

}  // namespace hpcvmm::deputy
