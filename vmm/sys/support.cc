#include "vmm/sys/support.hh"

#include <algorithm>
#include <array>

#include "vmm/sys/table.hh"

namespace hpcvmm::sys {
namespace {

bool is_wanted(const Row& r, Column which) {
  return which == Column::Both || (which == Column::X64 ? r.nr64 : r.nr32) >= 0;
}

void put_padded(std::string& out, std::string_view text, std::size_t width) {
  out += text;
  if (text.size() < width) out.append(width - text.size(), ' ');
}

void put_nr(std::string& out, int nr) {
  const std::string text = nr < 0 ? "-" : std::to_string(nr);
  out.append(6 - std::min<std::size_t>(text.size(), 6), ' ');
  out += text;
}

void put_json_string(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      ((out += "\\u00") += kHex[static_cast<unsigned char>(c) >> 4U]) += kHex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void put_member(std::string& out, std::string_view name, std::string_view value) {
  put_json_string(out, name);
  out += ':';
  put_json_string(out, value);
}

void put_json_nr(std::string& out, std::string_view name, int nr) {
  put_json_string(out, name);
  out += ':';
  out += nr < 0 ? "null" : std::to_string(nr);
}

void put_json_row(std::string& out, const Row& r) {
  out += '{';
  put_member(out, "name", r.name);
  put_json_nr(out += ',', "nr_x86_64", r.nr64);
  put_json_nr(out += ',', "nr_ia32", r.nr32);
  put_member(out += ',', "runs", name_of(r.runs));
  put_member(out += ',', "support", name_of(r.support));
  put_member(out += ',', "mobility", name_of(r.mobility));
  put_member(out += ',', "restart", name_of(r.restart));
  out += r.twin ? ",\"twin\":true,\"args\":[" : ",\"twin\":false,\"args\":[";
  for (unsigned i = 0; i < shape_of(r).count; ++i) {
    out += i == 0 ? "{" : ",{";
    put_member(out, "name", r.args[i].name);
    put_member(out += ',', "kind", name_of(r.args[i].kind));
    out += '}';
  }
  put_member(out += "],", "note", r.note);
  out += '}';
}

}  // namespace

const char* name_of(Runs v) {
  switch (v) {
    case Runs::Host: return "host";
    case Runs::Vmm: return "vmm";
    case Runs::Local: return "local";
  }
  return "?";
}
const char* name_of(Support v) {
  switch (v) {
    case Support::Full: return "full";
    case Support::Partial: return "partial";
    case Support::None: return "none";
  }
  return "?";
}
const char* name_of(Mobility v) {
  switch (v) {
    case Mobility::Free: return "free";
    case Mobility::Home: return "home";
    case Mobility::Pins: return "pins";
  }
  return "?";
}
const char* name_of(Restart v) {
  switch (v) {
    case Restart::Never: return "never";
    case Restart::Sys: return "sys";
    case Restart::NoHand: return "nohand";
    case Restart::NoIntr: return "nointr";
    case Restart::Block: return "block";
  }
  return "?";
}
const char* name_of(ArgKind v) {
  static constexpr std::array kNames{
      "none",       "int",         "uint",         "long",         "size",      "hex",          "fd",
      "dirfd",      "mode",        "pid",          "uid",          "uid16",     "signal",       "off64",
      "flags",      "address",     "path",         "string",       "in_buf",    "out_buf",      "inout_buf",
      "in_struct",  "out_struct",  "inout_struct", "in_iovec",     "out_iovec", "in_msghdr",    "out_msghdr",
      "in_mmsghdr", "out_mmsghdr", "in_sockaddr",  "out_sockaddr", "inout_len", "string_array", "futex",
      "ioctl_arg",  "fcntl_arg",   "sockopt_val",  "opaque"};
  static_assert(kNames.size() == static_cast<std::size_t>(ArgKind::Opaque) + 1);
  return kNames[static_cast<std::size_t>(v)];
}

std::string support_text(Column which) {
  constexpr std::size_t kNameWidth = 26;
  constexpr std::size_t kWordWidth = 9;
  std::string out;
  put_padded(out, "call", kNameWidth);
  out += "x86-64  IA32  ";
  put_padded(out, "runs", kWordWidth);
  put_padded(out, "support", kWordWidth);
  put_padded(out, "moves", kWordWidth);
  out += "note\n";
  std::array<unsigned, 3> counts{};
  for (const Row& r : kRows) {
    if (!is_wanted(r, which)) continue;
    ++counts[static_cast<std::size_t>(r.support)];
    put_padded(out, r.name, kNameWidth);
    put_nr(out, r.nr64);
    put_nr(out, r.nr32);
    out += "  ";
    put_padded(out, name_of(r.runs), kWordWidth);
    put_padded(out, name_of(r.support), kWordWidth);
    put_padded(out, name_of(r.mobility), *r.note == '\0' ? 0 : kWordWidth);
    (out += r.note) += '\n';
  }
  out += std::to_string(counts[0]) + " full, " + std::to_string(counts[1]) + " partial, " +
         std::to_string(counts[2]) + " refused\n";
  return out;
}

std::string support_json(Column which) {
  std::string out = "{\"calls\":[";
  bool first = true;
  for (const Row& r : kRows) {
    if (!is_wanted(r, which)) continue;
    if (!first) out += ',';
    first = false;
    put_json_row(out, r);
  }
  return out += "]}";
}

}  // namespace hpcvmm::sys
