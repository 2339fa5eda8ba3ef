#include "cli/man/roff.hh"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace hpcvmm::cli {

namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string title(const std::string& name, const std::string& section, const ManSetting& s) {
  return ".TH " + upper(name) + " " + section + " \"" + s.date + "\" \"hpc-vmm " + s.version +
         "\" \"hpc-vmm\"\n.nh\n.ad l\n";
}

std::string bold(const std::string& text) { return "\\fB" + roff_text(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff_text(text) + "\\fR"; }

/// Lines as they are: an example, a list of states.
std::string lines_as_they_are(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    out += (out.empty() ? "" : ".br\n") + roff_text(line) + "\n";
  }
  return out;
}

std::string sentence(const std::string& text) {
  const bool ends = text.empty() || text.find_last_of(".:!") == text.size() - 1;
  return ends ? text : text + ".";
}

/// What stands behind a tag: an option's, a key's.
std::string told(const PageOption& o) {
  std::string out = lines_as_they_are(sentence(o.text));
  if (!o.choices.empty()) {
    std::string list;
    for (const std::string& c : o.choices) list += (list.empty() ? "" : ", ") + bold(c);
    out += "One of: " + list + ".\n";
  }
  if (!o.usual.empty()) out += "Usually " + bold(o.usual) + ".\n";
  return out;
}

std::string option_entry(const PageOption& o) {
  std::string tag;
  const bool positional = !o.names.empty() && o.names[0][0] != '-';
  for (const std::string& n : o.names) tag += (tag.empty() ? "" : ", ") + (positional ? italic(n) : bold(n));
  if (!o.value.empty() && !positional) tag += " " + italic(o.value);
  return ".TP\n" + tag + "\n" + told(o);
}

std::string key_entry(const PageOption& o) {
  return ".TP\n" + bold(o.names.at(0)) + " = " + italic(o.value) + "\n" + (o.required ? "Required: " : "") +
         told(o);
}

std::string sections(const Page& page) {
  std::string out;
  if (!page.positionals.empty()) {
    out += ".SH ARGUMENTS\n";
    for (const PageOption& o : page.positionals) out += option_entry(o);
  }
  if (!page.options.empty()) {
    out += ".SH OPTIONS\n";
    for (const PageOption& o : page.options) out += option_entry(o);
  }
  if (!page.keys.empty()) {
    out += ".SH KEYS\n";
    for (const PageOption& o : page.keys) out += key_entry(o);
  }
  for (const Page& verb : page.verbs) {
    out += ".SH " + upper(verb.name) + "\n" + lines_as_they_are(verb.summary + ".");
    for (const PageOption& o : verb.options) out += option_entry(o);
    if (!verb.footer.empty()) out += ".PP\n" + lines_as_they_are(verb.footer);
  }
  return out;
}

/// "hpcd" and "8", as a line of its own.
std::string reference(const std::string& name, const std::string& section) {
  return ".BR " + roff_text(name) + " (" + section + ")\n";
}

std::string see_also(const Page& page) {
  std::string out = ".BR hpc\\-vmm (1)";
  for (const std::string& other : page.see_also) {
    const std::size_t at = other.find('(');
    out += ",\n.BR " + roff_text(other.substr(0, at)) + " " + other.substr(at);
  }
  return out + "\n";
}

}  // namespace

std::string roff_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool line_begins = out.empty() || out.back() == '\n';
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string man_name(const Page& page) {
  return page.old_name || page.section != "1" ? page.name : "hpc-vmm-" + page.name;
}

std::string man_page(const Page& page, const ManSetting& setting) {
  const std::string name = man_name(page);
  std::string out =
      title(name, page.section, setting) + ".SH NAME\n" + roff_text(name + " - " + page.summary) + "\n";
  out += ".SH SYNOPSIS\n";
  for (std::size_t i = 0; i < page.usage.size(); ++i)
    out += (i == 0 ? "" : ".br\n") + bold(page.usage[i]) + "\n";
  out += sections(page);
  if (!page.footer.empty()) out += ".SH NOTES\n" + lines_as_they_are(page.footer);
  return out + ".SH SEE ALSO\n" + see_also(page);
}

std::string man_overview(const std::vector<Page>& pages, const ManSetting& setting) {
  std::string out =
      title("hpc-vmm", "1", setting) +
      ".SH NAME\nhpc\\-vmm \\- runs unmodified Linux programs in micro\\-VMs that move between the nodes "
      "of a cluster\n.SH SYNOPSIS\n\\fBhpc\\-vmm\\fR \\fIVERB\\fR [\\fIOPTIONS\\fR]\n.SH VERBS\n";
  const auto list = [&pages, &out](const auto& those) {
    for (const Page& p : pages)
      if (those(p)) out += ".TP\n" + reference(man_name(p), p.section) + roff_text(p.summary) + ".\n";
  };
  list([](const Page& p) { return p.section == "1" && !p.old_name; });
  out += ".SH TOOLS WITH THEIR OLD NAMES\n";
  list([](const Page& p) { return p.section == "1" && p.old_name; });
  out += ".SH THE DAEMON\n";
  list([](const Page& p) { return p.section != "1"; });
  return out +
         ".SH ENVIRONMENT\n.TP\n\\fBHPCVMM_CLUSTER\\fR\nThe name of the cluster on this machine that is "
         "meant; "
         "unset: the usual one.\n.TP\n\\fBHPCVMM_NODE\\fR\nThe node whose daemon the tools ask; unset: the "
         "lowest on "
         "this machine.\n.SH FILES\n.TP\n\\fI/run/hpc\\-vmm/N/proc\\fR\nThe tree of openMosix's /proc/hpc, "
         "of node "
         "N.\n";
}

}  // namespace hpcvmm::cli
