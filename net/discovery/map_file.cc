#include "net/discovery/map_file.hh"

#include <ifaddrs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "net/driver/udp/sockaddr.hh"

namespace hpcvmm::net::discovery {
namespace {

constexpr unsigned kMaxLines = 65536;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  line = line.substr(0, line.find('#'));
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    words.push_back(line.substr(0, line.find_first_of(" \t\r")));
    line.remove_prefix(words.back().size());
  }
}

/// A number of digits only, or nothing.
std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 80)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + "\"";
}

bool is_alias(std::string_view word) {
  if (word == "0") return true;
  constexpr std::string_view kAlias = "alias";
  return std::equal(word.begin(), word.end(), kAlias.begin(), kAlias.end(),
                    [](char a, char b) { return a == b || a + ('a' - 'A') == b; });
}

class Parser {
 public:
  Parser(std::uint16_t port, const Resolve& resolve) : port_(port), resolve_(resolve) {}

  /// Empty, or what is wrong with the line.
  std::string take(std::string_view text) {
    const std::vector<std::string_view> words = words_of(text);
    if (words.empty()) return {};
    if (words.size() != 3)
      return "a line has three words, `id address range`, not " + std::to_string(words.size());
    const auto id = number(words[0]);
    if (!id || *id < 1 || *id > kMaxNode)
      return "the node's number must be 1 to 65535, not " + quoted(words[0]);
    std::string host;
    const auto address = address_of(words[1], host);
    if (!address) return quoted(words[1]) + " is no address, and no host of that name is known";
    if (is_alias(words[2])) return take_alias(*id, *address);
    const auto range = number(words[2]);
    if (!range || *range > kMaxNode)
      return "the range must be how many nodes begin here, or ALIAS, not " + quoted(words[2]);
    if (*range > 1 && !host.empty())
      return "a range of " + std::to_string(*range) +
             " needs an address to count from, not the name of a host";
    return take_range(*id, *address, *range, host);
  }
  MapError finish(unsigned lines) {
    for (const auto& [id, first] : waiting_)
      if (!entries_.contains(id))
        return {first, "node " + std::to_string(id) + " has an ALIAS, but no line with a range"};
    if (entries_.empty()) return {lines == 0 ? 0 : lines, "there is no node in it"};
    for (const auto& [id, address] : aliases_) entries_[id].addresses.push_back(address);
    return {};
  }
  std::vector<MapEntry> entries() {
    std::vector<MapEntry> out;
    for (auto& [id, e] : entries_) out.push_back(std::move(e));
    return out;
  }
  unsigned line = 0;

 private:
  std::optional<Address> address_of(std::string_view word, std::string& host) const {
    // A port is not part of the syntax: 1.2.3.4:5 would be one.
    if (auto a = Address::parse(word, port_); a && a->port == port_) return a;
    host = std::string(word);
    if (word.size() > 253 || word.find_first_of(":[]/") != std::string_view::npos) return std::nullopt;
    auto a = resolve_(host);
    if (a) a->port = port_;
    return a;
  }
  std::string claim(const Address& address, NodeId id) {
    const auto [at, fresh] = owners_.emplace(address, id);
    if (fresh || at->second == id) return {};
    return address.text() + " is node " + std::to_string(at->second) + "'s already";
  }
  std::string take_alias(NodeId id, const Address& address) {
    if (std::string why = claim(address, id); !why.empty()) return why;
    waiting_.emplace(id, line);
    aliases_.emplace_back(id, address);
    return {};
  }
  std::string take_range(NodeId id, Address address, std::uint32_t range, const std::string& host) {
    if (id + range - 1 > kMaxNode)
      return "the range ends at node " + std::to_string(id + range - 1) + "; the highest is 65535";
    if (range - 1 + address.ip[15] > 255)
      return "the range counts the last part of the address beyond 255; give the rest a line of its own";
    for (std::uint32_t i = 0; i < range; ++i) {
      if (entries_.contains(id + i)) return "node " + std::to_string(id + i) + " is in the map twice";
      if (std::string why = claim(address, id + i); !why.empty()) return why;
      entries_[id + i] = {id + i, {address}, host};
      ++address.ip[15];
    }
    return {};
  }

  std::uint16_t port_;
  const Resolve& resolve_;
  std::map<NodeId, MapEntry> entries_;
  std::map<Address, NodeId> owners_;
  std::map<NodeId, unsigned> waiting_;
  std::vector<std::pair<NodeId, Address>> aliases_;
};

/// Without the port.
std::string bare(const Address& a) {
  std::string text = a.text();
  text.resize(text.rfind(':'));
  if (text.starts_with('[')) text = text.substr(1, text.size() - 2);
  return text;
}

}  // namespace

std::variant<std::vector<MapEntry>, MapError> parse_map(std::string_view text, std::uint16_t port,
                                                        const Resolve& resolve) {
  Parser parser(port, resolve);
  while (!text.empty()) {
    if (++parser.line > kMaxLines) return MapError{parser.line, "a map has at most 65536 lines"};
    const std::size_t end = text.find('\n');
    if (std::string why = parser.take(text.substr(0, end)); !why.empty()) return MapError{parser.line, why};
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  if (MapError e = parser.finish(parser.line); !e.text.empty()) return e;
  return parser.entries();
}

std::optional<Address> find_host(std::string_view hosts, const std::string& host) {
  while (!hosts.empty()) {
    const std::size_t end = hosts.find('\n');
    const std::vector<std::string_view> words = words_of(hosts.substr(0, end));
    for (std::size_t i = 1; i < words.size(); ++i)
      if (words[i] == host)
        if (const auto address = Address::parse(words[0])) return address;
    hosts.remove_prefix(end == std::string_view::npos ? hosts.size() : end + 1);
  }
  return std::nullopt;
}

std::string map_text(const std::vector<MapEntry>& entries) {
  std::string out;
  for (std::size_t i = 0; i < entries.size();) {
    const Address first = entries[i].addresses.front();
    std::size_t n = 1;
    while (i + n < entries.size() && entries[i].host.empty() && entries[i + n].host.empty()) {
      Address next = first;
      if (next.ip[15] + n > 255) break;
      next.ip[15] = static_cast<std::uint8_t>(next.ip[15] + n);
      if (entries[i + n].node != entries[i].node + n || entries[i + n].addresses.front() != next) break;
      ++n;
    }
    out += std::to_string(entries[i].node) + "\t" +
           (entries[i].host.empty() ? bare(first) : entries[i].host) + "\t" + std::to_string(n) + "\n";
    i += n;
  }
  for (const MapEntry& e : entries)
    for (std::size_t a = 1; a < e.addresses.size(); ++a)
      out += std::to_string(e.node) + "\t" + bare(e.addresses[a]) + "\tALIAS\n";
  return out;
}

NodeId find_own(const std::vector<MapEntry>& entries, const std::vector<Address>& own) {
  for (const MapEntry& e : entries)
    for (const Address& a : e.addresses)
      for (const Address& mine : own)
        if (a.ip == mine.ip) return e.node;
  return 0;
}

std::vector<Address> own_addresses() {
  std::vector<Address> out;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return out;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    const int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage s{};
    std::memcpy(&s, i->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    out.push_back(from_sockaddr(s));
  }
  ::freeifaddrs(list);
  return out;
}

std::string usual_map_path() {
  for (const char* path : {"/etc/openmosix.map", "/etc/mosix.map", "/etc/hpc.map"})
    if (::access(path, F_OK) == 0) return path;
  return {};
}

}  // namespace hpcvmm::net::discovery
