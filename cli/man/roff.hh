// Man pages from pages.  Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

struct ManSetting {
  std::string version, date;
};

/// Text with what roff would take for commands made harmless.
std::string roff_text(const std::string& text);
/// hpc-vmm-VERB.1, or the page of a tool with an old name, or of another section.
std::string man_page(const Page& page, const ManSetting& setting);
/// hpc-vmm.1: what there is.
std::string man_overview(const std::vector<Page>& pages, const ManSetting& setting);
/// "hpc-vmm-launch", "mosrun".
std::string man_name(const Page& page);

}  // namespace hpcvmm::cli
