#include "vmm/gdb/signal_map.hh"

#include <array>
#include <cstdint>

namespace hpcvmm::gdb {
namespace {

constexpr int kUnknown = 143;
// Index: Linux signal 0..31.  16 is SIGSTKFLT, for which the protocol has no number.
constexpr std::array<std::uint8_t, 32> kStandard = {0,  1,  2,  3,  4,  5,        6,  10, 8,  9,  30,
                                                    11, 31, 13, 14, 15, kUnknown, 20, 19, 17, 18, 21,
                                                    22, 16, 24, 25, 26, 27,       28, 23, 32, 12};
constexpr int kRealtime33 = 45;
constexpr int kRealtime32 = 77;
constexpr int kRealtime64 = 78;

}  // namespace

int to_gdb_signal(int signo) {
  if (signo >= 0 && signo < 32) return kStandard[static_cast<unsigned>(signo)];
  if (signo == 32) return kRealtime32;
  if (signo == 64) return kRealtime64;
  if (signo >= 33 && signo <= 63) return kRealtime33 + signo - 33;
  return kUnknown;
}

int from_gdb_signal(unsigned gdb_signal) {
  if (gdb_signal == 0 || gdb_signal == static_cast<unsigned>(kUnknown)) return 0;
  for (int signo = 1; signo <= 64; ++signo)
    if (static_cast<unsigned>(to_gdb_signal(signo)) == gdb_signal) return signo;
  return 0;
}

}  // namespace hpcvmm::gdb
