// What a program may have seen of the CPU it started on: a node that lacks any of it cannot take the program.
#pragma once

#include <cstdint>

namespace hpcvmm::migrate {

/// Feature words of CPUID leaves 1 (ecx, edx), 7.0 (ebx, ecx, edx), 0x8000_0001 (ecx, edx), and XCR0.
/// Source: Intel SDM vol. 2, CPUID.
void read_cpu_features(std::uint32_t (&words)[8]);
/// 0 when `there` has everything `here` has; otherwise 1 + the index of the first word that lacks something.
unsigned missing_cpu_features(const std::uint32_t (&here)[8], const std::uint32_t (&there)[8]);

}  // namespace hpcvmm::migrate
