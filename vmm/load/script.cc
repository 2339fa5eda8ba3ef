#include "vmm/load/script.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace hpcvmm::load {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// Both searches include `last` itself: Linux's rule for a line without newline depends on that.
char* find_word(char* first, const char* last) {
  for (; first <= last; ++first) {
    if (!is_blank(*first)) return first;
  }
  return nullptr;
}

char* find_word_end(char* first, const char* last) {
  for (; first <= last; ++first) {
    if (is_blank(*first) || *first == '\0') return first;
  }
  return nullptr;
}

}  // namespace

ScriptLine parse_script(std::span<const std::byte> head) {
  std::array<char, kHeadBytes> line{};
  if (!head.empty()) std::memcpy(line.data(), head.data(), std::min(head.size(), line.size()));
  ScriptLine out;
  out.is_script = line[0] == '#' && line[1] == '!';
  if (!out.is_script) return out;

  char* const last = line.data() + line.size() - 1;
  char* end = std::find_if(line.data(), last + 1, [](char c) { return c == '\n' || c == '\0'; });
  if (end > last || *end == '\0') {
    // No newline: the path is trusted only if something ends it within the limit, else it may have been cut
    // off.
    char* const word = find_word(line.data() + 2, last);
    if (word == nullptr || find_word_end(word, last) == nullptr) {
      out.verdict = Verdict::fail(ENOEXEC, "#! line longer than 256 bytes, interpreter path cut off");
      return out;
    }
    end = last;
  }
  while (is_blank(end[-1])) --end;
  char* const name = find_word(line.data() + 2, end);
  if (name == nullptr || name == end) {
    out.verdict = Verdict::fail(ENOEXEC, "#! line without an interpreter");
    return out;
  }
  char* const gap = find_word_end(name, end);
  char* argument = nullptr;
  if (gap != nullptr && *gap != '\0') argument = find_word(gap, end);
  *end = '\0';
  if (argument != nullptr) {
    *gap = '\0';
    out.has_argument = true;
    out.argument = argument;
  }
  out.interpreter = name;
  return out;
}

}  // namespace hpcvmm::load
