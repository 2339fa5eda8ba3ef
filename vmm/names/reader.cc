#include "vmm/names/reader.hh"

#include <sys/stat.h>
#include <cerrno>
#include <climits>

namespace hpcvmm::names {

using wire::names::kComplete;
using wire::names::kRefused;
using wire::names::Type;

namespace {
constexpr unsigned kMostLinks = 16;  // Linux follows 40; who needs that many asks home
constexpr Found kAskHome{kUnknown, Kind::Unknown, {}, {}, 0, false};
constexpr Found kRefusedByHome{kUnknown, Kind::Unknown, {}, {}, 0, true};

bool is_usable(const Record* r) { return r != nullptr && (r->flags & kRefused) == 0; }
}  // namespace

bool Reader::may(const Who& who, std::uint32_t owner, std::uint32_t mode, std::uint32_t need) {
  if (who.powerful) return true;
  if (who.user == owner) return ((mode >> 6) & need) == need;
  // His groups are not known: what others may and the group may not is no yes.
  return (mode & need) == need && ((mode >> 3) & need) == need;
}

const Record* Reader::node(const Id& id) const {
  const Record* const r = find(*store_, Type::Node, id);
  return is_usable(r) ? r : nullptr;
}

bool Reader::is_refused(const Id& id) const {
  const Record* const r = find(*store_, Type::Node, id);
  return r != nullptr && !is_usable(r);
}

// NOLINTNEXTLINE(readability-function-size): one step a component
Found Reader::look(std::string_view path, const Id& here, bool follow, const Who& who) const {
  if (path.empty() || path.size() >= PATH_MAX) return kAskHome;
  std::string rest(path);  // what is left of it, links replaced by their texts
  std::size_t at = 0;
  Id folder = path[0] == '/' ? store_->root : here;
  unsigned links = 0;
  for (;;) {
    while (at < rest.size() && rest[at] == '/') ++at;
    if (at == rest.size()) return {0, Kind::Folder, folder, {}, 0, false};
    std::size_t end = rest.find('/', at);
    if (end == std::string::npos) end = rest.size();
    const std::string_view name = std::string_view(rest).substr(at, end - at);
    const bool last = end == rest.size();
    if (name.size() > NAME_MAX) return kAskHome;
    const Record* const f = find(*store_, Type::Folder, folder);
    if (f == nullptr) return kAskHome;
    if (!is_usable(f) || !may(who, f->owner, f->mode, 1)) return kRefusedByHome;
    if (name == "." || name == "..") {
      if (name == "..") folder = folder == store_->root ? folder : f->child;
      at = end;
      continue;
    }
    const auto [e, to_the_end] = search(*store_, Type::Entry, folder, name);
    Kind kind = (f->flags & kComplete) != 0 && to_the_end ? Kind::Absent : Kind::Unknown;
    // One of an earlier or a later telling of the folder means nothing for this one.
    if (e != nullptr) kind = e->serial == f->serial ? e->kind : Kind::Unknown;
    switch (kind) {
      case Kind::Unknown: return kAskHome;
      case Kind::Absent: return {ENOENT, kind, {}, {}, 0, false};
      case Kind::Folder:
        folder = e->child;
        at = end;
        continue;
      case Kind::File:
      case Kind::Other:
        if (!last) return {ENOTDIR, kind, {}, {}, 0, false};
        return {0, kind, e->child, {}, 0, false};
      case Kind::Link: {
        if (last && !follow) return {0, kind, e->child, e->text(), e->until_ns, false};
        // Where everybody writes, not every link is followed (proc_sys_fs(5), protected_symlinks).
        if (++links > kMostLinks || e->text_bytes == 0 || (f->mode & S_ISVTX) != 0) return kAskHome;
        std::string next(e->text());
        next.append(rest, end);
        if (next.size() >= PATH_MAX) return kAskHome;
        if (next[0] == '/') folder = store_->root;
        rest = std::move(next);
        at = 0;
        continue;
      }
    }
  }
}

}  // namespace hpcvmm::names
