#include "vmm/migrate/cpu.hh"

#include <cpuid.h>

namespace hpcvmm::migrate {

void read_cpu_features(std::uint32_t (&words)[8]) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  for (std::uint32_t& w : words) w = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) {
    words[0] = c;
    words[1] = d;
    constexpr unsigned kOsxsave = 1U << 27;
    if ((c & kOsxsave) != 0) {
      std::uint32_t low = 0;
      std::uint32_t high = 0;
      asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
      words[7] = low;
    }
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    words[2] = b;
    words[3] = c;
    words[4] = d;
  }
  if (__get_cpuid(0x8000'0001, &a, &b, &c, &d) != 0) {
    words[5] = c;
    words[6] = d;
  }
}

unsigned missing_cpu_features(const std::uint32_t (&here)[8], const std::uint32_t (&there)[8]) {
  for (unsigned i = 0; i < 8; ++i)
    if ((here[i] & ~there[i]) != 0) return i + 1;
  return 0;
}

}  // namespace hpcvmm::migrate
