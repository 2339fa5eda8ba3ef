// The tree under FUSE: each open takes the text as it is then, each write is a request.
#define FUSE_USE_VERSION 32
#include "cli/procfs/procfs.hh"

#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <sstream>
#include <thread>

#include "cli/cluster/command.hh"
#include "cli/hpctree/tree.hh"
#include "cli/man/app_page.hh"
#include "cli/mosix/yardstick.hh"
#include "cli/tools/client.hh"

namespace hpcvmm::cli {

namespace {

using hpctree::Caller;
using hpctree::Entry;
using hpctree::Tree;

/// The most that may be written at once: no value is longer.
constexpr std::size_t kMostWritten = 4096;

struct Arguments {
  std::string mountpoint, cluster;
  unsigned node = 0;
  bool foreground = false;
};

void add_procfs(CLI::App& app, Arguments& a) {
  app.add_option("mountpoint", a.mountpoint, "an empty folder")->required();
  app.add_flag("--foreground", a.foreground, "do not go into the background");
  app.add_option("--cluster", a.cluster, "another cluster of this machine, by name")
      ->envname("HPCVMM_CLUSTER");
  app.add_option("--node", a.node, "the node whose tree it is; the lowest of this machine if not given")
      ->check(CLI::Range(1U, 65535U));
  app.footer(
      "hpc/ is openMosix's /proc/hpc, pid/PID/ what it had in /proc/PID.  Who may write there: root, and the "
      "owner "
      "of a process for that one.  End it with umount MOUNTPOINT.  hpc-vmm up mounts it at "
      "/run/hpc-vmm/N/proc.");
}

Tree& tree() { return *static_cast<Tree*>(::fuse_get_context()->private_data); }

/// The process of a thread: the kernel names threads.
int process_of(int thread) {
  std::istringstream lines(read_file("/proc/" + std::to_string(thread) + "/status"));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("Tgid:")) return std::atoi(line.c_str() + 5);
  return thread;
}

Caller caller() {
  const fuse_context* const c = ::fuse_get_context();
  return {static_cast<unsigned>(c->uid), process_of(c->pid)};
}

int get_attributes(const char* path, struct stat* st, fuse_file_info* info) {
  static_cast<void>(info);
  const Entry e = tree().look(path);
  if (e.kind == Entry::Kind::None) return -ENOENT;
  *st = {};
  const bool folder = e.kind == Entry::Kind::Folder;
  st->st_mode = (folder ? S_IFDIR : S_IFREG) | e.mode;
  st->st_nlink = folder ? 2 : 1;
  st->st_uid = e.owner;
  st->st_mtime = st->st_ctime = st->st_atime = std::time(nullptr);
  return 0;
}

int read_folder(const char* path, void* buffer, fuse_fill_dir_t fill, off_t offset, fuse_file_info* info,
                fuse_readdir_flags flags) {
  static_cast<void>(offset);
  static_cast<void>(info);
  static_cast<void>(flags);
  std::vector<std::string> names{".", ".."};
  std::vector<std::string> own;
  if (const int error = tree().list(path, own); error != 0) return -error;
  names.insert(names.end(), own.begin(), own.end());
  for (const std::string& name : names)
    if (fill(buffer, name.c_str(), nullptr, 0, static_cast<fuse_fill_dir_flags>(0)) != 0) return 0;
  return 0;
}

int open_file(const char* path, fuse_file_info* info) {
  info->direct_io = 1;  // its size is not known before
  auto text = std::make_unique<std::string>();
  if ((info->flags & O_ACCMODE) != O_WRONLY)
    if (const int error = tree().read(path, caller(), *text); error != 0) return -error;
  info->fh = reinterpret_cast<std::uintptr_t>(text.release());
  return 0;
}

int read_file_at(const char* path, char* to, std::size_t bytes, off_t offset, fuse_file_info* info) {
  static_cast<void>(path);
  const auto& text = *reinterpret_cast<const std::string*>(info->fh);  // NOLINT(performance-no-int-to-ptr)
  const auto at = static_cast<std::size_t>(offset);
  if (at >= text.size()) return 0;
  const std::size_t n = std::min(bytes, text.size() - at);
  text.copy(to, n, at);
  return static_cast<int>(n);
}

int write_file_at(const char* path, const char* from, std::size_t bytes, off_t offset, fuse_file_info* info) {
  static_cast<void>(offset);
  static_cast<void>(info);
  if (bytes > kMostWritten) return -EINVAL;
  const int error = tree().write(path, std::string(from, bytes), caller());
  return error != 0 ? -error : static_cast<int>(bytes);
}

int release_file(const char* path, fuse_file_info* info) {
  static_cast<void>(path);
  delete reinterpret_cast<std::string*>(info->fh);  // NOLINT
  return 0;
}

/// Shells truncate what they write to.
int truncate_file(const char* path, off_t size, fuse_file_info* info) {
  static_cast<void>(info);
  const Entry e = tree().look(path);
  if (e.kind == Entry::Kind::None) return -ENOENT;
  return size == 0 ? 0 : -EINVAL;
}

void* init(fuse_conn_info* connection, fuse_config* config) {
  static_cast<void>(connection);
  config->kernel_cache = 0;
  // Names come and go with nodes and processes.
  config->entry_timeout = config->attr_timeout = 0.5;
  config->negative_timeout = 0;
  return ::fuse_get_context()->private_data;
}

fuse_operations operations() {
  fuse_operations o{};
  o.getattr = get_attributes;
  o.readdir = read_folder;
  o.open = open_file;
  o.read = read_file_at;
  o.write = write_file_at;
  o.release = release_file;
  o.truncate = truncate_file;
  o.init = init;
  return o;
}

int serve(const Arguments& a, const Client& client) {
  const hpctree::Ask ask = [&client](const nlohmann::json& request, bool wait) {
    if (wait) return client.ask(request, request.value("op", "") == "migrate" ? 0 : 10'000);
    // Nobody waits for it: it goes on when this write has returned.
    std::thread([client, request] { static_cast<void>(client.ask(request, 0)); }).detach();
    return nlohmann::json::object();
  };
  Tree own(ask, {HPCVMM_VERSION, [&client] { return read_yardstick(client.names(), client.node()); }});
  const fuse_operations o = operations();
  std::string options = "fsname=hpc-vmm,subtype=hpc-vmm,default_permissions";
  if (::geteuid() == 0) options += ",allow_other";
  std::array<char*, 4> words{const_cast<char*>("hpc-vmm"), const_cast<char*>("-o"), options.data(), nullptr};
  fuse_args args{3, words.data(), 0};
  fuse* const f = ::fuse_new(&args, &o, sizeof o, &own);
  if (f == nullptr) return complain("procfs: FUSE refused its options");
  int status = 1;
  if (::fuse_mount(f, a.mountpoint.c_str()) != 0) {
    complain("procfs: " + a.mountpoint +
             " cannot be mounted; FUSE needs root, or fusermount3 (package fuse3)");
  } else {
    if (::fuse_daemonize(a.foreground ? 1 : 0) == 0 &&
        ::fuse_set_signal_handlers(::fuse_get_session(f)) == 0) {
      fuse_loop_config config{};
      config.max_idle_threads = 4;
      status = ::fuse_loop_mt(f, &config) >= 0 ? 0 : 1;
      ::fuse_remove_signal_handlers(::fuse_get_session(f));
    }
    ::fuse_unmount(f);
  }
  ::fuse_destroy(f);
  ::fuse_opt_free_args(&args);
  return status;
}

}  // namespace

Page procfs_page() {
  CLI::App app{"mount openMosix's tree of files (/proc/hpc) on this host", "procfs"};
  Arguments a;
  add_procfs(app, a);
  return page_of_app(app, "hpc-vmm");
}

int procfs_main(int argc, char** argv) {
  CLI::App app{procfs_page().summary, "hpc-vmm procfs"};
  Arguments a;
  add_procfs(app, a);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 125;
  }
  if (!a.cluster.empty() && !good_cluster_name(a.cluster))
    return complain("--cluster " + a.cluster + ": a name is 1 to 8 small letters and digits, a letter first");
  if (::access("/dev/fuse", R_OK | W_OK) != 0)
    return complain("/dev/fuse: " + std::string(std::strerror(errno)) + "; remedy: modprobe fuse, as root");
  const Client client(Names{a.cluster}, a.node);
  const nlohmann::json answer = client.ask({{"op", "nodes"}});
  if (!answer.value("ok", false)) return complain(answer.value("error", ""));
  return serve(a, client);
}

}  // namespace hpcvmm::cli
