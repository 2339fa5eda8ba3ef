// Proves the nr64 column against the kernel's own header.  Compiled only; the two headers cannot be included
// together.
#include <asm/unistd_64.h>

#include "vmm/sys/check_nr.inc"

// Names the C library's headers define as macros must not reach the rows: only asm/unistd_64.h is included
// above.
#define ROW(id, nr32, nr64, ...) static_assert(agrees(nr64, HPCVMM_TEXT(__NR_##id), kNewest), #id);
#define ROW_AS(id, name, nr32, nr64, ...) static_assert(agrees(nr64, HPCVMM_TEXT(__NR_##name), kNewest), #id);
namespace {
constexpr int kNewest = 450;  // set_mempolicy_home_node: in every header since Linux 5.17
#include "vmm/sys/rows.inc"
}  // namespace
#undef ROW
#undef ROW_AS
