// Completion scripts of shells from pages.  Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// What the words after an option, or of a positional, are.
enum class WordKind { Any, Choice, Node, Target, Process, File, Command };
WordKind word_kind(const PageOption& option);

std::string bash_completion(const std::vector<Page>& pages);
/// For zsh's _arguments; the file's name is _hpc-vmm.
std::string zsh_completion(const std::vector<Page>& pages);

}  // namespace hpcvmm::cli
