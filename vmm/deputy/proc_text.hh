// Names and texts of /proc: parsing and filtering.  Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hpcvmm::deputy::proc_text {

enum class What : std::uint8_t { Other, Exe, Fd };
struct Name {
  What what = What::Other;
  std::int64_t pid = 0;  // 0: the caller itself
  int fd = -1;           // of What::Fd
};

/// Cheap: can this absolute path mean anything to parse_name()?
bool is_candidate(std::string_view path);
/// Reads /proc/{self,thread-self,PID}[/task/TID]/{exe,fd/N,fdinfo/N} and /dev/fd/N.  Empty components and "."
/// count for nothing; a path with ".." is Other.
Name parse_name(std::string_view path);
/// maps, smaps, smaps_rollup, numa_maps, status: files of a process directory that tell of the VMM.
bool is_telling_file(std::string_view file);

struct Range {
  std::uint64_t begin = 0, end = 0;
};
/// "begin-end" in lower-case hex at the beginning of `text`.
bool parse_range(std::string_view text, Range& range);

/// What the guest shall see.
struct View {
  std::uint64_t vdso = 0;  // address of its vDSO image, 0: none; the page before is [vvar]
  std::uint64_t brk_begin = 0, brk_end = 0;
  bool ia32 = false;  // Linux shows such a program no [vsyscall]
  bool (*is_vmm)(std::uint64_t begin, std::uint64_t end) = nullptr;
};

/// Each takes the host's text and returns the guest's.
std::string filter_maps(std::string_view host, const View& view);  // maps and smaps
std::string filter_numa_maps(std::string_view host, const View& view);
/// `smaps` is the host's, for what must be subtracted.
std::string filter_rollup(std::string_view host, std::string_view smaps, const View& view);

/// What the host says of the VMM in /proc/PID/status, and what is so of the guest.
struct Status {
  std::uint64_t ignored = 0, caught = 0;  // signals, bit 0 is signal 1
  std::uint64_t threads = 1;
  std::uint64_t seccomp_mode = 0, seccomp_filters = 0;
  /// Of the cluster; empty: the host's.
  std::string cpus, cpu_list, nodes, node_list;
};
/// CPU time beside the host's, in 1/100 s.
struct MoreTicks {
  std::uint64_t user = 0, system = 0, children_user = 0, children_system = 0;
};
/// /proc/PID/stat with more CPU time, and another CPU number.
std::string filter_stat(std::string_view host, const MoreTicks& more,
                        const std::function<unsigned(unsigned)>& cpu_in_view);
std::string filter_status(std::string_view host, const Status& status);

}  // namespace hpcvmm::deputy::proc_text
