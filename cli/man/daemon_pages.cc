#include "cli/man/daemon_pages.hh"

#include "cli/man/app_page.hh"
#include "daemon/config.hh"
#include "daemon/options.hh"

namespace hpcvmm::cli {

namespace {

PageOption page_of_key(const daemon::ConfigKey& key) {
  PageOption out{{key.name}, key.kind, key.text, "", key.choices, key.required};
  if (key.most > 0) out.text += ". From " + std::to_string(key.least) + " to " + std::to_string(key.most);
  const bool says_something = key.value != "\"\"" && key.value != "[]";
  if (key.usual && says_something) out.usual = key.value;
  if (!key.usual) out.text += ". Such as " + key.value;
  return out;
}

Page page_of_hpcd() {
  CLI::App app;
  daemon::Options options;
  daemon::describe(app, options);
  Page page = page_of_app(app, "");
  page.usage = {"hpcd [OPTIONS]"};
  page.old_name = true;
  page.section = "8";
  page.see_also = {"hpc-vmm.toml(5)", "hpc-vmm-up(1)"};
  return page;
}

Page page_of_file(const std::string& path) {
  Page page;
  page.name = "hpc-vmm.toml";
  page.summary = "the configuration file of hpcd, the daemon of hpc-vmm";
  page.usage = {path};
  for (const daemon::ConfigKey& key : daemon::config_keys()) page.keys.push_back(page_of_key(key));
  page.footer =
      "The file is TOML. A key that is not set has the value that is told as usual, or described.\n"
      "Unknown keys and wrong types are refused with their line; hpcd --check looks without starting, "
      "hpcd --keys prints all keys as a file.";
  page.section = "5";
  page.see_also = {"hpcd(8)"};
  return page;
}

}  // namespace

std::vector<Page> daemon_pages() { return {page_of_hpcd(), page_of_file(daemon::Options{}.config)}; }

}  // namespace hpcvmm::cli
