#include "vmm/deputy/names.hh"

#include <linux/prctl.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/mem/arena.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

prctl_mm_map g_own{};
// The kernel reads the vector anew at each call.
std::array<std::uint64_t, 64> g_auxv{};
char* g_copy = nullptr;
std::size_t g_copy_bytes = 0;

void tell(const prctl_mm_map& m) { ::prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof m, 0); }

}  // namespace

void set_names(const char* execfn, const load::Loaded& loaded, const load::StackImage& stack, mem::Mm& mm) {
  const char* const slash = std::strrchr(execfn, '/');
  ::prctl(PR_SET_NAME, slash == nullptr ? execfn : slash + 1);
  prctl_mm_map& m = g_own;
  m.start_code = loaded.start_code;
  m.end_code = std::max(loaded.end_code, loaded.start_code + 1);
  m.start_data = loaded.start_data;
  m.end_data = std::max(loaded.end_data, loaded.start_data);
  m.start_brk = m.brk = mm.brk_start();
  m.start_stack = stack.sp;
  m.arg_start = stack.arg_start;
  m.arg_end = stack.arg_end;
  m.env_start = stack.env_start;
  m.env_end = stack.env_end;
  m.auxv_size = static_cast<std::uint32_t>(std::min<std::uint64_t>(stack.auxv_bytes, sizeof g_auxv));
  if (!mem::copy_in(g_auxv.data(), stack.auxv, m.auxv_size)) m.auxv_size = 0;
  m.auxv = reinterpret_cast<decltype(m.auxv)>(g_auxv.data());
  m.exe_fd = ~0U;
  tell(m);
}

void show_copied_names() {
  const std::uint64_t begin = g_own.arg_start;
  const std::uint64_t bytes = g_own.env_end - begin;
  if (g_own.env_end <= begin) return;
  if (bytes > g_copy_bytes) {
    if (g_copy != nullptr) mem::arena_unmap(g_copy, g_copy_bytes);
    g_copy = static_cast<char*>(mem::arena_map(bytes));
    g_copy_bytes = g_copy != nullptr ? bytes : 0;
  }
  if (g_copy == nullptr || !mem::copy_in(g_copy, begin, bytes)) return;
  const std::uint64_t delta = reinterpret_cast<std::uint64_t>(g_copy) - begin;
  prctl_mm_map m = g_own;
  for (auto* const word : {&m.arg_start, &m.arg_end, &m.env_start, &m.env_end}) *word += delta;
  tell(m);
}

void show_own_names() { tell(g_own); }

}  // namespace hpcvmm::deputy
