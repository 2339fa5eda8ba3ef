#include "cli/man/app_page.hh"

#include <sstream>

namespace hpcvmm::cli {

namespace {

/// "TEXT:{auto,kvm}" is a value with choices; "UINT:INT in [1 - 5]" one whose bounds are for the text.
void set_value(const CLI::Option& option, PageOption& out) {
  const std::string type = option.get_type_name();
  out.value = type.substr(0, type.find(':'));
  const std::size_t brace = type.find(":{");
  if (brace == std::string::npos) return;
  std::istringstream items(type.substr(brace + 2, type.rfind('}') - brace - 2));
  for (std::string item; std::getline(items, item, ',');) out.choices.push_back(item);
}

PageOption page_of_option(const CLI::Option& option) {
  PageOption out;
  out.text = option.get_description();
  out.required = option.get_required();
  if (option.nonpositional()) {
    for (const std::string& s : option.get_snames()) out.names.push_back("-" + s);
    for (const std::string& l : option.get_lnames()) out.names.push_back("--" + l);
  } else {
    out.names.push_back(option.get_name(true));
  }
  if (option.get_expected_max() > 0 && option.get_type_size_max() > 0) {
    set_value(option, out);
    out.usual = option.get_default_str();
  }
  if (out.usual == "\"\"" || out.usual == "[]") out.usual.clear();
  return out;
}

}  // namespace

Page page_of_app(const CLI::App& verb, const std::string& prefix) {
  Page page;
  page.name = verb.get_name();
  page.summary = verb.get_description();
  page.footer = verb.get_footer();
  std::string usage = prefix + " " + page.name;
  for (const CLI::Option* o : verb.get_options()) {
    if (o->get_group().empty()) continue;
    if (o->get_positional())
      page.positionals.push_back(page_of_option(*o));
    else
      page.options.push_back(page_of_option(*o));
  }
  if (!page.options.empty()) usage += " [OPTIONS]";
  for (const PageOption& p : page.positionals)
    usage += p.required ? " " + p.names.at(0) : " [" + p.names.at(0) + "]";
  page.verbs = pages_of_verbs(verb, prefix + " " + page.name);
  if (!page.verbs.empty()) usage += " VERB";
  page.usage.push_back(usage);
  return page;
}

std::vector<Page> pages_of_verbs(const CLI::App& app, const std::string& prefix) {
  std::vector<Page> out;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    out.push_back(page_of_app(*verb, prefix));
  return out;
}

}  // namespace hpcvmm::cli
