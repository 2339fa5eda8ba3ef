#include "vmm/load/images.hh"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "vmm/load/program.hh"

namespace hpcvmm::load {
namespace {

// The program headers of nearly every file lie in its first page: one read serves both tables.
constexpr std::size_t kFirstReadBytes = 4096;

ssize_t read_fully(int fd, std::span<std::byte> to, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t n = ::pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) return -errno;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

ElfPlan read_plan(int fd, Role role) {
  std::array<std::byte, kFirstReadBytes> first{};
  const ssize_t got = read_fully(fd, first, 0);
  if (got < 0) {
    ElfPlan plan;
    plan.verdict = Verdict::fail(static_cast<int>(-got), "cannot read the ELF file");
    return plan;
  }
  const auto head = std::span<const std::byte>(first).first(static_cast<std::size_t>(got));
  const ElfHeader header = parse_header(head, role);
  if (!header.verdict.ok()) return parse_phdrs(header, {}, role);
  if (header.phoff <= head.size() && head.size() - header.phoff >= header.phdrs_bytes) {
    return parse_phdrs(header, head.subspan(header.phoff, header.phdrs_bytes), role);
  }
  std::vector<std::byte> table(header.phdrs_bytes);
  const ssize_t n = read_fully(fd, table, header.phoff);
  table.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return parse_phdrs(header, table, role);
}

Verdict read_interp_path(int fd, const ElfPlan& plan, std::string& out) {
  std::vector<std::byte> bytes(plan.interp_bytes);
  const ssize_t n = read_fully(fd, bytes, plan.interp_offset);
  if (n < 0) return Verdict::fail(static_cast<int>(-n), "cannot read the ELF interpreter path");
  if (static_cast<std::size_t>(n) != bytes.size()) {
    return Verdict::fail(EIO, "ELF file truncated in its interpreter path");
  }
  if (bytes.back() != std::byte{0}) return Verdict::fail(ENOEXEC, "ELF interpreter path without its end");
  out = reinterpret_cast<const char*>(bytes.data());
  return {};
}

Verdict open_interp(const ElfPlan& program, Images& out) {
  ExecFile file;
  const Verdict found = open_interpreter(out.interp_path, file);
  if (!found.ok()) return Verdict::fail(found.error, "the program's ELF interpreter cannot be opened");
  if (file.unreadable) {
    out.interp_unreadable = true;
    return {};
  }
  out.interp_fd = std::move(file.fd);
  // A file shorter than an ELF header is a read error to Linux, not a bad library.
  std::array<std::byte, 64> head{};
  const std::size_t want = ehdr_bytes(program.header.abi);
  const ssize_t n = read_fully(out.interp_fd.get(), std::span(head).first(want), 0);
  if (n < 0) return Verdict::fail(static_cast<int>(-n), "cannot read the program's ELF interpreter");
  if (static_cast<std::size_t>(n) != want)
    return Verdict::fail(EIO, "the program's ELF interpreter is truncated");
  out.interp = read_plan(out.interp_fd.get(), Role::Interpreter);
  if (out.interp.verdict.ok() && out.interp.header.abi != program.header.abi) {
    return Verdict::fail(ELIBBAD, "the program's ELF interpreter is of another ABI");
  }
  return out.interp.verdict;
}

}  // namespace

Verdict open_images(int fd, Images& out) {
  out.program = read_plan(fd, Role::Program);
  const ElfPlan& program = out.program;
  if (!program.verdict.ok() || program.interp_bytes == 0) return program.verdict;
  const Verdict path = read_interp_path(fd, program, out.interp_path);
  return path.ok() ? open_interp(program, out) : path;
}

}  // namespace hpcvmm::load
