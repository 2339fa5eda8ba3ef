#include "cli/verbs.hh"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/cluster/cgroup.hh"
#include "cli/cluster/names.hh"
#include "cli/doctor/doctor.hh"
#include "cli/settings.hh"
#include "cli/shell.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/sys/support.hh"

namespace hpcvmm::cli {
namespace {

using deputy::LaunchRequest;
using deputy::Options;

struct LaunchArgs {
  std::string engine = "auto", view = "cluster", command, image, memory, workdir, trace, gdb, summary;
  std::vector<std::string> env, program;
  bool clear_env = false, shell = false, has_command = false, verbose = false, traced = false, json = false;
  unsigned cpus = 0, node = 0, home = 1;
  SettingsWords settings;
  std::string argv0;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "hpc-vmm: %s\n", message.c_str());
  std::exit(125);
}

int open_output(const std::string& path, const char* what) {
  if (path.empty() || path == "-") return ::fcntl(2, F_DUPFD_CLOEXEC, 3);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) fail(std::string(what) + " " + path + ": " + std::strerror(errno));
  return fd;
}

/// "512M", "2G", plain bytes.
rlim_t parse_size(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long n = std::strtoull(text.c_str(), &end, 10);
  unsigned shift = 0;
  switch (*end) {
    case 0: break;
    case 'k':
    case 'K':
      shift = 10;
      ++end;
      break;
    case 'm':
    case 'M':
      shift = 20;
      ++end;
      break;
    case 'g':
    case 'G':
      shift = 30;
      ++end;
      break;
    case 't':
    case 'T':
      shift = 40;
      ++end;
      break;
    default: break;
  }
  if (errno != 0 || end == text.c_str() || *end != 0 || n == 0 || n > (~0ULL >> shift))
    fail("--memory " + text + ": not a size; give bytes, or a number with K, M, G or T");
  return static_cast<rlim_t>(n) << shift;
}

std::vector<std::string> environment(const LaunchArgs& a, char** envp) {
  std::vector<std::string> env;
  if (!a.clear_env)
    for (char** e = envp; *e != nullptr; ++e) env.emplace_back(*e);
  for (const std::string& setting : a.env) {
    const std::size_t eq = setting.find('=');
    const std::string name = setting.substr(0, eq);
    std::erase_if(env, [&](const std::string& e) {
      return e.size() > name.size() && e[name.size()] == '=' && e.compare(0, name.size(), name) == 0;
    });
    if (eq != std::string::npos) env.push_back(setting);
  }
  return env;
}

/// The file execvp(3) would run; empty if PATH has none.
std::string find_program(const std::string& name, const std::vector<std::string>& env) {
  if (name.find('/') != std::string::npos) return name;
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& e : env)
    if (e.compare(0, 5, "PATH=") == 0) path = e.substr(5);
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string dir = path.substr(at, end - at);
    std::string candidate = (dir.empty() ? "." : dir) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return {};
}

/// A directory as given, or $HPCVMM_IMAGES/NAME, images/cache/NAME beside the source,
/// /var/lib/hpc-vmm/images/NAME.
std::string image_directory(const std::string& image) {
  const char* const own = std::getenv("HPCVMM_IMAGES");
  std::vector<std::string> places{image};
  if (own != nullptr) places.push_back(std::string(own) + "/" + image);
  std::array<char, 4096> exe{};
  const ssize_t n = ::readlink("/proc/self/exe", exe.data(), exe.size() - 1);
  if (n > 0) {
    // build/<preset>/bin/hpc-vmm: three levels up is the source tree.
    std::string at(exe.data(), static_cast<std::size_t>(n));
    for (int up = 0; up < 4; ++up) at = at.substr(0, at.rfind('/'));
    places.push_back(at + "/images/cache/" + image);
  }
  places.push_back("/var/lib/hpc-vmm/images/" + image);
  for (const std::string& p : places) {
    struct stat s {};
    if (::stat(p.c_str(), &s) == 0 && S_ISDIR(s.st_mode)) return p;
  }
  return {};
}

/// Makes `image` this process's root, with the host's /proc, /dev and /sys inside.
void enter_image(const std::string& image) {
  const std::string dir = image_directory(image);
  if (dir.empty())
    fail("--image " + image +
         ": no such directory, and no image of that name; build one with images/build.sh");
  if (::unshare(CLONE_NEWNS) != 0)
    fail("--image needs the right to mount (root): unshare: " + std::string(std::strerror(errno)));
  ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  for (const char* sub : {"/proc", "/dev", "/sys"}) {
    const std::string at = dir + sub;
    ::mkdir(at.c_str(), 0755);
    if (::mount(sub, at.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      fail("--image " + image + ": cannot mount " + sub + " inside: " + std::strerror(errno));
  }
  if (::chroot(dir.c_str()) != 0 || ::chdir("/") != 0)
    fail("--image " + image + ": chroot: " + std::strerror(errno));
}

int print_syscalls(bool json, const std::string& abi) {
  const sys::Column column = abi == "x86-64" ? sys::Column::X64
                             : abi == "ia32" ? sys::Column::Ia32
                                             : sys::Column::Both;
  const std::string text = json ? sys::support_json(column) : sys::support_text(column);
  std::fputs(text.c_str(), stdout);
  return std::ferror(stdout) != 0 ? 1 : 0;
}

/// A number is a port, anything else a path.
void set_gdb(const std::string& where, Options& o) {
  if (where.find_first_not_of("0123456789") != std::string::npos) {
    o.gdb_path = where;
    return;
  }
  const unsigned long port = std::strtoul(where.c_str(), nullptr, 10);
  if (port == 0 || port > 65535)
    fail("--gdb " + where + ": a port is 1 to 65535; or give the path of a socket with a slash in it");
  o.gdb_port = static_cast<std::uint16_t>(port);
}

int do_launch(LaunchArgs& a, char** envp) {
  LaunchRequest request;
  Options& o = request.options;
  o.engine = a.engine == "kvm"      ? Options::Choice::Kvm
             : a.engine == "direct" ? Options::Choice::Direct
                                    : Options::Choice::Auto;
  o.verbose = a.verbose;
  o.cpus = a.cpus;
  o.node = a.node != 0 ? a.node : a.settings.run_on;
  if (const std::string why = read_settings(a.settings, request.settings); !why.empty()) fail(why);
  const char* const cluster = std::getenv("HPCVMM_CLUSTER");  // as the verbs of the cluster have it
  if (cluster != nullptr && *cluster != 0 && !good_cluster_name(cluster))
    fail(std::string("HPCVMM_CLUSTER=") + cluster +
         ": a name is 1 to 8 small letters and digits, a letter first");
  const Names names{cluster == nullptr ? "" : cluster};
  const std::string folder = names.node_dir(a.home);
  if (a.shell && a.view != "host")
    if (const std::string why = no_cluster(folder + "/vmm.sock"); !why.empty()) fail(why);
  o.cluster_fd = ::open((folder + "/vmm.sock").c_str(), O_PATH | O_CLOEXEC);
  if (o.cluster_fd >= 0 && a.view != "host")
    o.view_fd = ::open((folder + "/view").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  // A node of a cluster on this machine may be limited, and what is at home there with it.
  if (o.cluster_fd >= 0 && ::geteuid() == 0)
    if (const std::string why = join_group(names, a.home); !why.empty())
      fail("the limits of its node: " + why);
  if (a.traced) o.trace_fd = deputy::hide_fd(open_output(a.trace, "--trace"));
  if (a.json) o.summary_fd = deputy::hide_fd(open_output(a.summary, "--summary-file"));
  if (!a.gdb.empty()) set_gdb(a.gdb, o);
  request.env = environment(a, envp);
  if (!a.memory.empty()) {
    const rlimit limit{parse_size(a.memory), parse_size(a.memory)};
    if (::setrlimit(RLIMIT_DATA, &limit) != 0) fail("--memory " + a.memory + ": " + std::strerror(errno));
  }
  if (a.cpus > 0) {
    cpu_set_t now;
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    ::sched_getaffinity(0, sizeof now, &now);
    unsigned n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && n < a.cpus; ++cpu) {
      if (!CPU_ISSET(cpu, &now)) continue;
      CPU_SET(cpu, &wanted);
      ++n;
    }
    if (n < a.cpus)
      fail("--cpus " + std::to_string(a.cpus) + ": this process may use only " + std::to_string(n));
    ::sched_setaffinity(0, sizeof wanted, &wanted);
  }
  if (!a.image.empty()) enter_image(a.image);
  if (!a.workdir.empty() && ::chdir(a.workdir.c_str()) != 0)
    fail("--workdir " + a.workdir + ": " + std::strerror(errno));
  if (a.shell) {
    if (o.view_fd >= 0) set_for_cluster(request.env);
    ShellProgram shell = shell_program(request.env, a.command, a.has_command);
    request.program.path = std::move(shell.path);
    request.program.argv = std::move(shell.argv);
    return deputy::launch(std::move(request));
  }
  request.program.path = find_program(a.program[0], request.env);
  if (request.program.path.empty()) {
    std::fprintf(stderr, "hpc-vmm: %s: command not found\n", a.program[0].c_str());
    return 127;
  }
  request.program.argv = a.program;
  if (!a.argv0.empty()) request.program.argv[0] = a.argv0;
  return deputy::launch(std::move(request));
}

/// The usual command line, `launch [--engine E] [-v] [--json] [--] PROGRAM...`, without the parser: that
/// takes a tenth of a millisecond to set up.  False for everything else, and for everything that is wrong:
/// the parser then says what.
bool parse_usual(int argc, char** argv, LaunchArgs& l) {
  if (argc < 3 || std::strcmp(argv[1], "launch") != 0) return false;
  LaunchArgs found;
  int at = 2;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    const std::string_view option = argv[at];
    if (option == "--") {
      ++at;
      break;
    }
    if (option == "-v" || option == "--verbose") {
      found.verbose = true;
    } else if (option == "--json") {
      found.json = true;
    } else if (option == "--engine" && at + 1 < argc) {
      found.engine = argv[++at];
    } else if (option == "--view" && at + 1 < argc) {
      found.view = argv[++at];
    } else {
      return false;
    }
  }
  if (found.view != "cluster" && found.view != "host") return false;
  if (found.engine != "auto" && found.engine != "kvm" && found.engine != "direct") return false;
  if (at >= argc) return false;
  found.program.assign(argv + at, argv + argc);
  l = std::move(found);
  return true;
}

void add_settings(CLI::App* launch, SettingsWords& s) {
  launch->add_flag("--lock", s.lock, "the balancer does not move it; a person still can");
  launch->add_flag("--unlock", s.unlock, "it may be moved, even if whoever starts it is locked");
  launch->add_flag("--home-only", s.home_only, "it never leaves its home");
  launch->add_option("--run-on", s.run_on, "it starts on this node and belongs there")
      ->check(CLI::Range(1U, 65535U));
  launch
      ->add_option("--kind", s.kind, "what it is taken for: cpu computes, io reads and writes files at home")
      ->check(CLI::IsMember({"cpu", "io"}));
  launch->add_option("--decay", s.decay, "how fast what was measured of it is forgotten")
      ->check(CLI::IsMember({"slow", "fast", "none"}));
  launch->add_option("--nodes", s.nodes, "only these nodes may run it: a list like 1,3-5");
  launch->add_option("--except-nodes", s.except_nodes, "these nodes may not run it: a list like 1,3-5");
}

/// What launch and shell have in common.
void add_options(CLI::App* verb, LaunchArgs& l) {
  verb->add_option("--engine", l.engine, "how guest code runs: auto, kvm, direct")
      ->check(CLI::IsMember({"auto", "kvm", "direct"}))
      ->capture_default_str();
  verb->add_option("--view", l.view,
                   "what programs take for their machine: cluster (where one is up) or host")
      ->check(CLI::IsMember({"cluster", "host"}))
      ->capture_default_str();
  verb->add_option("--image", l.image,
                   "root file system to run in: a directory, or the name of a built image");
  verb->add_option("--memory", l.memory, "limit of the program's data memory, e.g. 512M");
  verb->add_option("--cpus", l.cpus, "how many of this node's CPUs the program may use");
  verb->add_option("--node", l.node, "the cluster node to run on from the start; its home is node 1")
      ->check(CLI::Range(1U, 65535U));
  verb->add_option("--home", l.home, "the node whose hpcd this process registers with")
      ->check(CLI::Range(1U, 65535U))
      ->group("");  // tests
  verb->add_option("--env", l.env,
                   "NAME=VALUE sets, NAME alone removes a variable; may be given several times")
      ->allow_extra_args(false);
  verb->add_flag("--clear-env", l.clear_env, "start with an empty environment");
  verb->add_option("--workdir", l.workdir, "working directory (inside the image)");
  verb->add_flag("--trace{-}", l.trace,
                 "print every system call like strace, to stderr or with --trace=FILE to a file");
  verb->add_flag("--json", l.json, "print a summary of each process when it ends, as JSON, to stderr");
  verb->add_option("--summary-file", l.summary, "write the --json summary to this file instead");
  verb->add_option(
      "--gdb", l.gdb,
      "wait for gdb on this TCP port of localhost, or Unix socket path, before the first instruction");
  verb->add_flag("-v,--verbose", l.verbose, "say what is decided and why, on stderr");
  add_settings(verb, l.settings);
}

CLI::App* add_launch(CLI::App& app, LaunchArgs& l) {
  CLI::App* launch = app.add_subcommand("launch", "run a program in a micro-VM of its own");
  launch->prefix_command(false);
  launch->positionals_at_end(true);
  add_options(launch, l);
  launch->add_option("--argv0", l.argv0, "the name the program is told as its own, instead of PROGRAM");
  launch->add_option("program", l.program, "the program and its arguments")->required();
  launch->footer(
      "Example: hpc-vmm launch -- ./simulate --steps 1000\nExit status: the program's; 125 hpc-vmm failed, "
      "126 not executable, 127 not found.");
  return launch;
}

CLI::App* add_shell(CLI::App& app, LaunchArgs& l) {
  l.shell = true;
  CLI::App* shell = app.add_subcommand("shell", "your shell on the cluster as one machine");
  add_options(shell, l);
  shell->add_option("-c", l.command, "run this command instead of a login shell")
      ->each([&l](const std::string&) { l.has_command = true; });
  shell->footer(
      "CPUs, memory and processes that programs see in it are the cluster's: nproc, free, top, taskset.\n"
      "Exit status: the shell's.");
  return shell;
}

struct OtherArgs {
  CLI::App *doctor = nullptr, *calls = nullptr;
  bool doctor_json = false, calls_json = false;
  std::string calls_abi = "both";
};

void add_others(CLI::App& app, OtherArgs& a) {
  a.doctor = app.add_subcommand("doctor", "measure and explain what this host can do for hpc-vmm");
  a.doctor->add_flag("--json", a.doctor_json, "as JSON");
  a.calls = app.add_subcommand("syscalls", "the table of supported system calls");
  a.calls->add_flag("--json", a.calls_json, "as JSON");
  a.calls->add_option("--abi", a.calls_abi, "x86-64, ia32 or both")
      ->check(CLI::IsMember({"x86-64", "ia32", "both"}))
      ->capture_default_str();
}

}  // namespace

void describe_run(const std::function<void(const CLI::App&)>& with) {
  CLI::App app;
  LaunchArgs l;
  OtherArgs other;
  LaunchArgs sh;
  add_launch(app, l);
  add_shell(app, sh);
  add_others(app, other);
  with(app);
}

int run_usual(int argc, char** argv, char** envp) {
  LaunchArgs usual;
  return parse_usual(argc, argv, usual) ? do_launch(usual, envp) : -1;
}

int run(int argc, char** argv, char** envp) {
  CLI::App app{"Runs unmodified Linux programs, IA32 and x86-64, each in its own micro-VM.", "hpc-vmm"};
  app.require_subcommand(1);
  app.footer(
      "The cluster: up, down, nodes, ps, migrate, why, ctl, drain and resume; watching and steering it: top, "
      "mon, mosctl, mosrun, mps, "
      "procfs; its simulator: sim; each explains itself with --help, and has a man page hpc-vmm-VERB.");
  app.set_version_flag("--version", "hpc-vmm " HPCVMM_VERSION);
  LaunchArgs l;
  const CLI::App* const launch = add_launch(app, l);
  LaunchArgs sh;
  const CLI::App* const shell = add_shell(app, sh);
  OtherArgs other;
  add_others(app, other);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int rc = app.exit(e);
    return rc == 0 ? 0 : 125;
  }
  if (launch->parsed()) {
    l.traced = !l.trace.empty();
    return do_launch(l, envp);
  }
  if (shell->parsed()) {
    sh.traced = !sh.trace.empty();
    return do_launch(sh, envp);
  }
  if (other.doctor->parsed()) return doctor_main(other.doctor_json);
  return print_syscalls(other.calls_json, other.calls_abi);
}

}  // namespace hpcvmm::cli
