#include "net/driver/dpdk/eal.hh"

#include <rte_alarm.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::size_t kMessages = 6;
constexpr std::size_t kMessageBytes = 300;

struct Messages {
  std::mutex mutex;
  std::deque<std::string> last;
};
Messages& messages() {
  static auto* const m = new Messages;  // DPDK's threads write until the process is gone
  return *m;
}

/// DPDK's log: kept for error texts instead of being printed between ours.
ssize_t keep_message(void*, const char* text, std::size_t bytes) {
  std::string line(text, std::min(bytes, kMessageBytes));
  while (!line.empty() && line.back() == '\n') line.pop_back();
  Messages& m = messages();
  const std::scoped_lock lock(m.mutex);
  if (!line.empty()) m.last.push_back(std::move(line));
  if (m.last.size() > kMessages) m.last.pop_front();
  return static_cast<ssize_t>(bytes);
}

void divert_log() {
  cookie_io_functions_t functions{};
  functions.write = keep_message;
  FILE* const stream = ::fopencookie(nullptr, "w", functions);
  if (stream == nullptr) return;
  std::setvbuf(stream, nullptr, _IOLBF, 1024);
  rte_openlog_stream(stream);
}

/// "0@(0,1,5)": DPDK's only worker may run wherever this thread may, instead of being pinned to a CPU.
std::string lcores() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return "0@0";
  std::string list;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &cpus)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
  return "0@(" + list + ")";
}

std::vector<std::string> arguments(const DriverConfig& config) {
  std::vector<std::string> args{"hpcd",
                                "--no-telemetry",
                                "--iova-mode=va",
                                "--file-prefix=" + config.file_prefix,
                                "--lcores=" + lcores(),
                                "-m",
                                std::to_string(config.memory_mib)};
  if (config.huge_pages) {
    args.emplace_back("--in-memory");
  } else {
    // --in-memory is refused together with --no-huge (DPDK 22.11); --no-shconf leaves as little behind.
    args.emplace_back("--no-huge");
    args.emplace_back("--no-shconf");
  }
  bool has_pci = false;
  for (const PortConfig& port : config.ports) {
    if (port.kind() != "pci") continue;
    has_pci = true;
    args.emplace_back("-a");
    args.push_back(port.devargs());
  }
  // Without it DPDK would take every card it finds a driver for.
  if (!has_pci) args.emplace_back("--no-pci");
  return args;
}

bool good_prefix(const std::string& prefix) {
  const auto good = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.';
  };
  return !prefix.empty() && prefix.size() < 64 && prefix[0] != '.' &&
         std::all_of(prefix.begin(), prefix.end(), good);
}

Status init(const DriverConfig& config, std::string& why) {
  divert_log();
  std::vector<std::string> args = arguments(config);
  std::vector<char*> argv;
  argv.reserve(args.size());
  for (std::string& arg : args) argv.push_back(arg.data());
  cpu_set_t before;
  const bool has_before = ::sched_getaffinity(0, sizeof before, &before) == 0;
  const int rc = rte_eal_init(static_cast<int>(argv.size()), argv.data());
  if (has_before) ::sched_setaffinity(0, sizeof before, &before);
  // DPDK's run-time folder of this prefix: nothing is kept in it, and nobody else would remove it.
  static_cast<void>(::rmdir(rte_eal_get_runtime_dir()));
  if (rc >= 0) return Unit{};
  const int code = rte_errno > 0 ? rte_errno : EIO;
  why = "DPDK does not start: " + std::string(rte_strerror(code)) + take_eal_messages();
  if (config.huge_pages)
    why +=
        "; huge pages were asked for: reserve some (sysctl vm.nr_hugepages=256), or set huge_pages to false";
  if (code == EACCES || code == EPERM) why += "; it needs root, or a writable $XDG_RUNTIME_DIR";
  return Error::of(code, "rte_eal_init");
}

struct ThreadNumber {
  bool ours = rte_lcore_id() == LCORE_ID_ANY && rte_thread_register() == 0;
  ThreadNumber() = default;
  ThreadNumber(const ThreadNumber&) = delete;
  ThreadNumber& operator=(const ThreadNumber&) = delete;
  ~ThreadNumber() {
    if (ours) rte_thread_unregister();
  }
};

struct Job {
  const std::function<void()>* work = nullptr;
  std::mutex mutex;
  std::condition_variable done_changed;
  bool done = false;
};

void run_job(void* argument) {
  auto& job = *static_cast<Job*>(argument);
  (*job.work)();
  const std::scoped_lock lock(job.mutex);
  job.done = true;
  job.done_changed.notify_one();
}

}  // namespace

Status start_eal(const DriverConfig& config, std::string& why) {
  static std::mutex mutex;
  static bool started = false;
  const std::scoped_lock lock(mutex);
  if (!good_prefix(config.file_prefix)) {
    why = "file_prefix \"" + config.file_prefix + "\": should be letters, digits, '_', '-' or '.', not empty";
    return Error::of(EINVAL, "DPDK's file prefix");
  }
  if (!started) {
    HPCVMM_CHECK_OK(init(config, why));
    started = true;
    return Unit{};
  }
  const auto is_pci = [](const PortConfig& port) { return port.kind() == "pci"; };
  if (std::any_of(config.ports.begin(), config.ports.end(), is_pci)) {
    why = "a PCI port can only be named in the first DPDK driver of a process";
    return Error::of(ENOTSUP, "DPDK is running already");
  }
  return Unit{};
}

std::string take_eal_messages() {
  Messages& m = messages();
  const std::scoped_lock lock(m.mutex);
  std::string text;
  for (const std::string& line : m.last) text += (text.empty() ? " (DPDK said: " : " | ") + line;
  m.last.clear();
  return text.empty() ? text : text + ")";
}

void register_thread() {
  if (rte_lcore_id() != LCORE_ID_ANY) return;
  thread_local const ThreadNumber number;
  static_cast<void>(number);
}

void on_interrupt_thread(const std::function<void()>& work) {
  Job job;
  job.work = &work;
  if (rte_eal_alarm_set(1, run_job, &job) != 0) {
    work();  // no alarm to be had: better in the wrong thread than not at all
    return;
  }
  std::unique_lock lock(job.mutex);
  job.done_changed.wait(lock, [&] { return job.done; });
}

}  // namespace hpcvmm::net::dpdk
