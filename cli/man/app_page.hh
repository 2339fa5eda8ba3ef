// The page of a verb that CLI11 parses.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// `prefix`: what its name stands behind in a usage line, "hpc-vmm".  Hidden options are left out.
Page page_of_app(const CLI::App& verb, const std::string& prefix);

/// The pages of all verbs of `app` that are not hidden.
std::vector<Page> pages_of_verbs(const CLI::App& app, const std::string& prefix);

}  // namespace hpcvmm::cli
