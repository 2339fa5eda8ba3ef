// Host facts beside the engines: memory services, privileges, devices, CPU.
#include <cpuid.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/userfaultfd.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/probe/facts.hh"
#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

namespace hpcvmm::probe {
namespace {

// Bits of UFFDIO_API, by number: newer than the oldest headers this is built with.
constexpr std::uint64_t kUffdWp = 1U << 0;
constexpr std::uint64_t kUffdEventFork = 1U << 1;
constexpr std::uint64_t kUffdEventRemap = 1U << 2;
constexpr std::uint64_t kUffdPoison = 1U << 14;
constexpr std::uint64_t kUffdMove = 1U << 16;
constexpr unsigned long kUffdNew = 0xaa00;  // USERFAULTFD_IOC_NEW

std::string read_text(const char* path) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  char text[4096];
  const ssize_t got = ::read(fd.get(), text, sizeof(text));
  std::string result(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

struct Finding {
  const char* section;
  const char* key;
  State state;
  std::string value;
  std::string explanation;
  const char* remedy;  // kept only where the state is not Ok
};

void add(HostFacts& facts, Finding finding) {
  facts.items.push_back({.section = finding.section,
                         .key = finding.key,
                         .state = finding.state,
                         .value = std::move(finding.value),
                         .explanation = std::move(finding.explanation),
                         .remedy = finding.state == State::Ok ? "" : finding.remedy});
}

void add_userfault(HostFacts& facts) {
  Userfault found;
  run_guarded(300, found, probe_userfault);
  if (!found.syscall_works && !found.device_works) {
    add(facts,
        {"memory", "userfaultfd", State::Missing, strerrordesc_np(found.failed_errno),
         "processes cannot move to or from this node",
         "sysctl vm.unprivileged_userfaultfd=1, or give the user /dev/userfaultfd (Linux 6.1 or later)"});
    return;
  }
  struct Feature {
    std::uint64_t bit;
    const char* name;
    bool needed;
  };
  const Feature features[] = {{kUffdWp, "WP", true},
                              {kUffdEventFork, "EVENT_FORK", true},
                              {kUffdEventRemap, "EVENT_REMAP", true},
                              {kUffdPoison, "POISON", false},
                              {kUffdMove, "MOVE", false}};
  std::string present;
  std::string lacking;
  State state = State::Ok;
  for (const Feature& feature : features) {
    if ((found.features & feature.bit) != 0) {
      present.append(present.empty() ? "" : " ").append(feature.name);
      continue;
    }
    lacking.append(lacking.empty() ? "; without " : " ").append(feature.name);
    if (feature.needed) state = State::Degraded;
  }
  if (read_text("/proc/sys/vm/unprivileged_userfaultfd") == "0" && ::geteuid() == 0)
    lacking += "; other users need /dev/userfaultfd or vm.unprivileged_userfaultfd=1";
  add(facts, {"memory", "userfaultfd", state, found.syscall_works ? "system call" : "/dev/userfaultfd",
              present + lacking, "Linux 5.7 or later for WP, 6.8 for MOVE"});
}

void add_hugepages(HostFacts& facts) {
  const std::string mode = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::size_t open = mode.find('[');
  const std::size_t close = mode.find(']');
  const bool known = open != std::string::npos && close != std::string::npos && close > open;
  const std::string chosen = known ? mode.substr(open + 1, close - open - 1) : "unknown";
  const bool usable = chosen == "madvise" || chosen == "always";
  add(facts, {"memory", "thp", usable ? State::Ok : State::Missing, chosen,
              "transparent huge pages: first touch of large areas is up to ten times cheaper",
              "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  const std::string reserved = read_text("/proc/sys/vm/nr_hugepages");
  const long count = std::strtol(reserved.c_str(), nullptr, 10);
  add(facts, {"memory", "hugetlb", count > 0 ? State::Ok : State::Degraded, std::to_string(count) + " pages",
              "reserved huge pages, for DPDK with physical NICs only",
              "sysctl vm.nr_hugepages=256 where a NIC needs them"});
  facts.items.back().number = static_cast<double>(count);
  facts.items.back().unit = "count";
}

void add_privileges(HostFacts& facts) {
  const std::string status = read_text("/proc/self/status");
  const std::size_t at = status.find("CapEff:");
  const std::uint64_t effective =
      at == std::string::npos ? 0 : std::strtoull(status.c_str() + at + 7, nullptr, 16);
  struct Capability {
    unsigned number;
    const char* name;
  };
  const Capability wanted[] = {{21, "CAP_SYS_ADMIN"}, {24, "CAP_SYS_RESOURCE"}, {19, "CAP_SYS_PTRACE"},
                               {12, "CAP_NET_ADMIN"}, {13, "CAP_NET_RAW"},      {14, "CAP_IPC_LOCK"},
                               {23, "CAP_SYS_NICE"}};
  std::string held;
  std::string lacking;
  for (const Capability& capability : wanted) {
    std::string& list = ((effective >> capability.number) & 1) != 0 ? held : lacking;
    list.append(list.empty() ? "" : " ").append(capability.name);
  }
  std::string text = held.empty() ? "none of the capabilities of a cluster node" : "has " + held;
  if (!lacking.empty()) text += "; lacks " + lacking;
  add(facts, {"host", "privileges", lacking.empty() ? State::Ok : State::Degraded,
              "uid " + std::to_string(::geteuid()), text,
              "launch needs none of them; a cluster node (hpcd) is started as root with all of them"});
}

void add_device(HostFacts& facts, const char* section, const char* key, const char* path, const char* purpose,
                const char* remedy) {
  const UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
  add(facts,
      {section, key, fd ? State::Ok : State::Missing, fd ? path : strerrordesc_np(errno), purpose, remedy});
}

void add_dpdk(HostFacts& facts) {
  const char* const pattern = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-*/librte_net_*.so";
  glob_t found{};
  std::string useful;
  std::size_t count = 0;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the caller is single-threaded
  if (::glob(pattern, 0, nullptr, &found) == 0) {
    count = found.gl_pathc;
    for (std::size_t i = 0; i < count; ++i) {
      const char* const base = std::strstr(found.gl_pathv[i], "librte_net_") + std::strlen("librte_net_");
      const std::string name(base, std::strlen(base) - std::strlen(".so"));
      for (const char* wanted :
           {"memif", "af_packet", "af_xdp", "vhost", "virtio", "mlx5", "ixgbe", "i40e", "ice"})
        if (name == wanted) useful.append(useful.empty() ? "" : " ").append(name);
    }
  }
  ::globfree(&found);
  add(facts, {"network", "dpdk_drivers", count > 0 ? State::Ok : State::Missing,
              count > 0 ? std::to_string(count) + " drivers" : "none",
              count > 0 ? useful : "nodes talk UDP instead", "apt-get install dpdk"});
  facts.items.back().number = static_cast<double>(count);
  facts.items.back().unit = "count";
  const bool headers = ::access("/usr/lib/x86_64-linux-gnu/pkgconfig/libdpdk.pc", R_OK) == 0;
  add(facts,
      {"network", "dpdk_headers", headers ? State::Ok : State::Missing, headers ? "libdpdk-dev" : "none",
       "needed to build with DPDK, not to run", "apt-get install libdpdk-dev"});
}

void add_cgroup(HostFacts& facts) {
  constexpr long kCgroup2Magic = 0x6367'7270;
  struct statfs status {};
  const bool unified = ::statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == kCgroup2Magic;
  add(facts, {"host", "cgroup", unified ? State::Ok : State::Degraded, unified ? "v2" : "not v2",
              unified ? "controllers: " + read_text("/sys/fs/cgroup/cgroup.controllers")
                      : "limits of foreign processes rest on rlimits alone",
              "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at /sys/fs/cgroup"});
}

void add_cpu(HostFacts& facts) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  const bool seventh = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
  const unsigned leaf7 = seventh ? b : 0;
  // The CPU bit alone is not enough: user space may use the instructions only if the kernel says so.
  const bool fsgsbase = (leaf7 & 1) != 0 && (::getauxval(AT_HWCAP2) & 2) != 0;
  add(facts, {"host", "fsgsbase", fsgsbase ? State::Ok : State::Degraded, fsgsbase ? "usable" : "not usable",
              "switches thread pointers without a system call (direct engine)",
              "Linux 5.9 or later without nofsgsbase"});
  a = b = c = d = 0;
  __get_cpuid(1, &a, &b, &c, &d);
  const bool xsave = (c & (1U << 27)) != 0;
  const bool avx = xsave && (c & (1U << 28)) != 0;
  const bool avx2 = avx && (leaf7 & (1U << 5)) != 0;
  const bool avx512 = avx && (leaf7 & (1U << 16)) != 0;
  std::string vectors = "SSE2";
  if (avx) vectors += ", AVX";
  if (avx2) vectors += ", AVX2";
  if (avx512) vectors += ", AVX-512";
  add(facts, {"host", "vectors", State::Ok, vectors,
              "a process that has seen them moves only to nodes that have them", ""});
  a = b = c = d = 0;
  if (xsave) __get_cpuid_count(0xd, 0, &a, &b, &c, &d);
  const bool fits = xsave && b <= FpState::kMaxBytes;
  add(facts, {"host", "xsave", fits ? State::Ok : State::Degraded, std::to_string(b) + " bytes",
              "vector state of one thread", "states above 4096 bytes (AMX) are not offered to guests"});
  facts.items.back().number = b;
  facts.items.back().unit = "bytes";
}

void add_kernel(HostFacts& facts) {
  int major = 0;
  int minor = 0;
  // 5.11 brought Syscall User Dispatch, 5.12 lifted the limit of 509 memory slots.
  const bool parsed = std::sscanf(facts.kernel.c_str(), "%d.%d", &major, &minor) == 2;
  const bool recent = parsed && (major > 5 || (major == 5 && minor >= 12));
  add(facts, {"host", "kernel", recent ? State::Ok : State::Degraded, facts.kernel,
              "hpc-vmm is made for Linux 5.12 and later", "install a newer kernel"});
}

}  // namespace

void probe_userfault(Userfault& out) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd) out.failed_errno = errno;
  out.syscall_works = static_cast<bool>(fd);
  const UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device) {
    UniqueFd other(::ioctl(device.get(), kUffdNew, O_CLOEXEC | O_NONBLOCK));
    out.device_works = static_cast<bool>(other);
    if (!fd) fd = std::move(other);
  }
  if (!fd) return;
  uffdio_api api{};
  api.api = UFFD_API;  // features 0 asks for nothing and returns what there is
  if (::ioctl(fd.get(), UFFDIO_API, &api) == 0) out.features = api.features;
}

void add_system_items(HostFacts& facts) {
  add_userfault(facts);
  add_hugepages(facts);
  add_kernel(facts);
  add_cpu(facts);
  add_privileges(facts);
  add_cgroup(facts);
  add_device(facts, "host", "fuse", "/dev/fuse", "mounts of the cluster file system",
             "modprobe fuse; in a container pass /dev/fuse in");
  add_device(facts, "network", "tun", "/dev/net/tun", "virtual Ethernet for full QEMU guests",
             "modprobe tun; in a container pass /dev/net/tun in");
  add_dpdk(facts);
}

}  // namespace hpcvmm::probe
