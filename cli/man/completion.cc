#include "cli/man/completion.hh"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

namespace hpcvmm::cli {

namespace {

constexpr std::array<std::string_view, 7> kNodes{"--node", "--run-on", "--nodes", "--except-nodes",
                                                 "node",   "NODE",     "number"};
constexpr std::array<std::string_view, 1> kTargets{"to"};
constexpr std::array<std::string_view, 4> kProcesses{"process", "pid", "--pid", "PID"};
constexpr std::array<std::string_view, 10> kFiles{"--image", "--workdir", "--trace",    "--summary-file",
                                                  "--svg",   "--gdb",     "mountpoint", "MOUNTPOINT",
                                                  "--key",   "FILE"};
constexpr std::array<std::string_view, 2> kCommands{"program", "command"};

template <std::size_t N> bool among(const std::array<std::string_view, N>& list, const PageOption& o) {
  const auto has = [&list](std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  return has(o.value) || std::any_of(o.names.begin(), o.names.end(), has);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : " ") + w;
  return out;
}

// --- bash

/// What COMPREPLY is made of for a word of this kind.
std::string bash_words(const PageOption& o) {
  switch (word_kind(o)) {
    case WordKind::Choice: return "_hpcvmm_words \"" + joined(o.choices) + "\"";
    case WordKind::Node: return "_hpcvmm_words \"$(_hpcvmm_ask nodes)\"";
    case WordKind::Target: return "_hpcvmm_words \"$(_hpcvmm_ask nodes) home balance\"";
    case WordKind::Process: return "_hpcvmm_words \"$(_hpcvmm_ask pids)\"";
    case WordKind::File: return "COMPREPLY=($(compgen -f -- \"$cur\"))";
    case WordKind::Command: return "COMPREPLY=($(compgen -c -- \"$cur\") $(compgen -f -- \"$cur\"))";
    case WordKind::Any: return "COMPREPLY=()";
  }
  return {};
}

/// Of a pattern: the label of a verb's verb has a blank in it.
std::string quoted(const std::string& label) {
  return label.find(' ') == std::string::npos ? label : "'" + label + "'";
}

void bash_page(const Page& page, const std::string& label, std::string& out) {
  std::string after;
  std::string words;
  for (const PageOption& o : page.options) {
    words += (words.empty() ? "" : " ") + joined(o.names);
    if (o.value.empty()) continue;
    std::string pattern;
    for (const std::string& n : o.names) pattern += (pattern.empty() ? "" : "|") + n;
    after += "        " + pattern + ") " + bash_words(o) + "; return ;;\n";
  }
  for (const Page& v : page.verbs) words += " " + v.name;
  out += "    " + quoted(label) + ")\n";
  if (!page.verbs.empty())
    out += "      if ((COMP_CWORD > $2)); then _hpcvmm_verb \"" + label +
           " ${COMP_WORDS[$2]}\" $(($2 + 1)); return; fi\n";
  if (!after.empty()) out += "      case \"$prev\" in\n" + after + "      esac\n";
  out += "      if [[ $cur == -* ]]; then _hpcvmm_words \"" + words + "\"; return; fi\n";
  if (!page.verbs.empty()) out += "      _hpcvmm_words \"" + words + "\"; return\n";
  if (!page.positionals.empty()) {
    out += "      case $given in\n";
    for (std::size_t i = 0; i < page.positionals.size(); ++i)
      out += "        " + (i + 1 == page.positionals.size() ? std::string("*") : std::to_string(i)) + ") " +
             bash_words(page.positionals[i]) + " ;;\n";
    out += "      esac\n";
  }
  out += "      ;;\n";
  for (const Page& v : page.verbs) bash_page(v, label + " " + v.name, out);
}

/// Not a file's page.
bool is_command(const Page& page) { return page.section == "1" || page.section == "8"; }

// --- zsh

std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, text.find('\n'))) {
    if (c == '\'')
      out += "'\\''";
    else if (c == '[' || c == ']' || c == ':' || c == '\\')
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}

std::string zsh_words(const PageOption& o) {
  switch (word_kind(o)) {
    case WordKind::Choice: return "(" + joined(o.choices) + ")";
    case WordKind::Node: return "_hpcvmm_nodes";
    case WordKind::Target: return "_hpcvmm_targets";
    case WordKind::Process: return "_hpcvmm_pids";
    case WordKind::File: return "_files";
    case WordKind::Command: return "_files";
    case WordKind::Any: return " ";
  }
  return {};
}

void zsh_page(const Page& page, const std::string& label, std::string& out) {
  out += "    " + quoted(label) + ")\n      " + (page.verbs.empty() ? "_arguments" : "state=; _arguments -C");
  for (const PageOption& o : page.options) {
    const std::string rest =
        "[" + zsh_text(o.text) + "]" +
        (o.value.empty() ? std::string() : ":" + zsh_text(o.value) + ":" + zsh_words(o)) + "'";
    for (const std::string& n : o.names) out += " \\\n        '" + n + rest;
  }
  for (std::size_t i = 0; i < page.positionals.size(); ++i) {
    const PageOption& o = page.positionals[i];
    const bool command = word_kind(o) == WordKind::Command;
    const bool last = i + 1 == page.positionals.size();
    out += " \\\n        '" +
           (command ? std::string("*::")
            : last  ? std::string("*:")
                    : std::to_string(i + 1) + ":") +
           zsh_text(o.names.at(0)) + ":" + (command ? "_normal" : zsh_words(o)) + "'";
  }
  if (!page.verbs.empty()) {
    out += " \\\n        '1:verb:(";
    for (const Page& v : page.verbs) out += v.name + " ";
    out += ")' \\\n        '*::argument:->rest'\n      [[ $state == rest ]] && _hpcvmm_verb \"" + label +
           " $words[1]\"";
  }
  out += "\n      ;;\n";
  for (const Page& v : page.verbs) zsh_page(v, label + " " + v.name, out);
}

}  // namespace

WordKind word_kind(const PageOption& option) {
  if (!option.choices.empty()) return WordKind::Choice;
  if (among(kNodes, option)) return WordKind::Node;
  if (among(kTargets, option)) return WordKind::Target;
  if (among(kProcesses, option)) return WordKind::Process;
  if (among(kFiles, option)) return WordKind::File;
  if (among(kCommands, option)) return WordKind::Command;
  return WordKind::Any;
}

std::string bash_completion(const std::vector<Page>& pages) {
  std::string verbs;
  std::string old;
  std::string cases;
  std::set<std::string> seen;  // migrate is a verb and an old name, with the same words
  for (const Page& p : pages) {
    if (!is_command(p)) continue;
    if (p.old_name) old += " " + p.name;
    if (!seen.insert(p.name).second) continue;
    if (p.section == "1") verbs += " " + p.name;
    bash_page(p, p.name, cases);
  }
  return "# bash completion of hpc-vmm and of the tools with openMosix's names.  Generated from their "
         "--help.\n"
         "_hpcvmm_ask() { command hpc-vmm complete \"$1\" 2>/dev/null; }\n"
         "_hpcvmm_words() { COMPREPLY=($(compgen -W \"$1\" -- \"$cur\")); }\n"
         "# $1: the verb; $2: the index of the first word behind it.\n"
         "_hpcvmm_verb() {\n"
         "  local i given=0\n"
         "  for ((i = $2; i < COMP_CWORD; ++i)); do [[ ${COMP_WORDS[i]} == -* ]] || ((++given)); done\n"
         "  case $1 in\n" +
         cases +
         "  esac\n}\n"
         "_hpcvmm() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  COMPREPLY=()\n"
         "  if ((COMP_CWORD == 1)); then _hpcvmm_words \"--help --version" +
         verbs +
         "\"; return; fi\n"
         "  _hpcvmm_verb \"${COMP_WORDS[1]}\" 2\n}\n"
         "_hpcvmm_old() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  COMPREPLY=()\n"
         "  _hpcvmm_verb \"${COMP_WORDS[0]##*/}\" 1\n}\n"
         "complete -F _hpcvmm hpc-vmm\n"
         "complete -F _hpcvmm_old" +
         old + "\n";
}

std::string zsh_completion(const std::vector<Page>& pages) {
  std::string old;
  std::string cases;
  std::string verbs;
  std::set<std::string> seen;
  for (const Page& p : pages) {
    if (!is_command(p)) continue;
    if (p.old_name) old += " " + p.name;
    if (!seen.insert(p.name).second) continue;
    if (p.section == "1") verbs += "    '" + p.name + ":" + zsh_text(p.summary) + "'\n";
    zsh_page(p, p.name, cases);
  }
  return "#compdef hpc-vmm" + old +
         "\n# Generated from the tools' --help.\n"
         "_hpcvmm_nodes() { local -a words; words=(${(f)\"$(command hpc-vmm complete nodes 2>/dev/null)\"}); "
         "compadd -a words }\n"
         "_hpcvmm_targets() { _hpcvmm_nodes; compadd home balance }\n"
         "_hpcvmm_pids() { local -a words; words=(${(f)\"$(command hpc-vmm complete pids 2>/dev/null)\"}); "
         "compadd -a words }\n"
         "_hpcvmm_verb() {\n  case $1 in\n" +
         cases +
         "  esac\n}\n"
         "_hpc-vmm() {\n"
         "  local curcontext=\"$curcontext\" state line\n"
         "  local -a verbs\n  verbs=(\n" +
         verbs +
         "  )\n"
         "  if [[ ${words[1]:t} != hpc-vmm ]]; then _hpcvmm_verb ${words[1]:t}; return; fi\n"
         "  _arguments -C '(- *)--help[what there is]' '(- *)--version[the version]' '1:verb:->verb' "
         "'*::argument:->rest'\n"
         "  case $state in\n"
         "    verb) _describe verb verbs ;;\n"
         "    rest) _hpcvmm_verb $words[1] ;;\n"
         "  esac\n}\n"
         "_hpc-vmm \"$@\"\n";
}

}  // namespace hpcvmm::cli
