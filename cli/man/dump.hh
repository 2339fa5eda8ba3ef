// hpc-vmm --dump-cli: the pages of its verbs as JSON, for man pages and completions.
#pragma once

namespace hpcvmm::cli {

int dump_cli();

}  // namespace hpcvmm::cli
