// libFuzzer's entry point for the target named by HPCVMM_FUZZ_TARGET.
#include "tests/fuzz/fuzz_targets.hh"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  hpcvmm::fuzz::HPCVMM_FUZZ_TARGET(data, bytes);
  return 0;
}
