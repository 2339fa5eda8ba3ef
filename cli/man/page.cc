#include "cli/man/page.hh"

#include <algorithm>

namespace hpcvmm::cli {

using nlohmann::json;

namespace {

json option_json(const PageOption& o) {
  return {{"names", o.names}, {"value", o.value},     {"text", o.text},
          {"usual", o.usual}, {"choices", o.choices}, {"required", o.required}};
}

PageOption option_of_json(const json& j) {
  return {j.value("names", std::vector<std::string>()),
          j.value("value", ""),
          j.value("text", ""),
          j.value("usual", ""),
          j.value("choices", std::vector<std::string>()),
          j.value("required", false)};
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : between) + w;
  return out;
}

/// Text in lines of at most `width` columns, each after the first behind `indent` blanks.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\n') {
      out += "\n" + std::string(indent, ' ');
      column = indent;
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::size_t length = end - at;
    if (column > indent && column + 1 + length > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += text.substr(at, length);
    column += length;
    at = end < text.size() && text[end] == ' ' ? end + 1 : end;
  }
  return out;
}

std::string option_lines(const std::vector<PageOption>& options) {
  constexpr std::size_t kIndent = 26;
  constexpr std::size_t kWidth = 80;
  std::string out;
  for (const PageOption& o : options) {
    std::string line = "  " + joined(o.names, ", ") + (o.value.empty() ? "" : " " + o.value);
    line += line.size() + 2 > kIndent ? "\n" + std::string(kIndent, ' ')
                                      : std::string(kIndent - line.size(), ' ');
    out += line + wrapped(o.text, kIndent, kWidth) + "\n";
  }
  return out;
}

}  // namespace

json page_json(const Page& page) {
  json positionals = json::array();
  json options = json::array();
  json keys = json::array();
  json verbs = json::array();
  for (const PageOption& o : page.positionals) positionals.push_back(option_json(o));
  for (const PageOption& o : page.options) options.push_back(option_json(o));
  for (const PageOption& k : page.keys) keys.push_back(option_json(k));
  for (const Page& v : page.verbs) verbs.push_back(page_json(v));
  return {{"name", page.name},
          {"summary", page.summary},
          {"usage", page.usage},
          {"positionals", positionals},
          {"options", options},
          {"footer", page.footer},
          {"verbs", verbs},
          {"old_name", page.old_name},
          {"keys", keys},
          {"section", page.section},
          {"see_also", page.see_also}};
}

Page page_of_json(const json& j) {
  Page page;
  page.name = j.value("name", "");
  page.summary = j.value("summary", "");
  page.usage = j.value("usage", std::vector<std::string>());
  page.footer = j.value("footer", "");
  page.old_name = j.value("old_name", false);
  page.section = j.value("section", "1");
  page.see_also = j.value("see_also", std::vector<std::string>());
  for (const json& o : j.value("positionals", json::array())) page.positionals.push_back(option_of_json(o));
  for (const json& o : j.value("options", json::array())) page.options.push_back(option_of_json(o));
  for (const json& k : j.value("keys", json::array())) page.keys.push_back(option_of_json(k));
  for (const json& v : j.value("verbs", json::array())) page.verbs.push_back(page_of_json(v));
  return page;
}

std::string help_text(const Page& page) {
  std::string out = page.name + ": " + page.summary + "\nUsage:";
  for (const std::string& u : page.usage) out += (page.usage.size() > 1 ? "\n  " : " ") + u;
  out += "\n";
  if (!page.positionals.empty()) out += "\nArguments:\n" + option_lines(page.positionals);
  if (!page.options.empty()) out += "\nOptions:\n" + option_lines(page.options);
  if (!page.footer.empty()) out += "\n" + wrapped(page.footer, 0, 80) + "\n";
  return out;
}

}  // namespace hpcvmm::cli
