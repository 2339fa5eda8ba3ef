// The hpcds of a cluster on this machine as processes: start, find, end.
#pragma once

#include <string>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

/// Starts an hpcd in the node's network namespace and notes its number in the node's folder (hpcd.pid).
/// Empty: started; else why not.
std::string start_node(const Names& names, unsigned node, const std::string& executable);
/// The process number of the node's hpcd; 0: none runs.  A number that another process has got meanwhile does
/// not count.
int running_node(const Names& names, unsigned node);
/// Ends it: asks (SIGTERM), waits `seconds`, kills.  False: it had to be killed.
bool end_node(const Names& names, unsigned node, unsigned seconds);
/// The last lines of the node's log, for messages.
std::string log_tail(const Names& names, unsigned node);
/// Field 22 of /proc/PID/stat: with the number, it names a process for good.  Empty: no such process.
std::string process_start_time(int pid);
/// The folder of this executable.
std::string own_folder();

/// Makes the namespaces with a bridge between them.  Empty: done.
std::string make_network(const Names& names, unsigned nodes);
void remove_network(const Names& names);
/// Namespaces of this cluster that are there.
bool network_exists(const Names& names);

}  // namespace hpcvmm::cli
