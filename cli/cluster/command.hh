// Running other programs of this machine (ip), and small files.
#pragma once

#include <string>
#include <vector>

namespace hpcvmm::cli {

/// Runs a program found in the usual system folders, with `input` as its stdin.  Empty: it ended with status
/// 0; else what it said on stderr, or why it could not be run.
std::string run_command(const std::vector<std::string>& arguments, const std::string& input = {});

/// Empty: done, else why not.
std::string write_file(const std::string& path, const std::string& text, unsigned mode = 0644);
/// Empty: cannot be read.
std::string read_file(const std::string& path);
/// Removes a folder with all that is in it; what is not there is fine.  Does not follow links.
void remove_tree(const std::string& path);

}  // namespace hpcvmm::cli
