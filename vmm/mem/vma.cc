#include "vmm/mem/vma.hh"

#include <iterator>

namespace hpcvmm::mem {

VmaList::Map::const_iterator VmaList::find(std::uint64_t at) const {
  auto it = map_.upper_bound(at);
  if (it == map_.begin()) return map_.end();
  --it;
  return at < it->second.end ? it : map_.end();
}

void VmaList::split(std::uint64_t at) {
  auto it = map_.upper_bound(at);
  if (it == map_.begin()) return;
  --it;
  if (it->first == at || at >= it->second.end) return;
  Vma upper = it->second;
  it->second.end = at;
  map_.emplace_hint(std::next(it), at, upper);
}

// Neighbours of one kind become one entry, so that the list stays short and 2 MiB steps are seen as covered.
void VmaList::join(Map::iterator it) {
  if (it != map_.begin()) {
    auto before = std::prev(it);
    if (before->second.end == it->first && before->second.same_kind(it->second)) {
      before->second.end = it->second.end;
      map_.erase(it);
      it = before;
    }
  }
  auto after = std::next(it);
  if (after != map_.end() && it->second.end == after->first && it->second.same_kind(after->second)) {
    it->second.end = after->second.end;
    map_.erase(after);
  }
}

void VmaList::erase(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  split(begin);
  split(end);
  map_.erase(map_.lower_bound(begin), map_.lower_bound(end));
}

void VmaList::insert(std::uint64_t begin, const Vma& v) {
  erase(begin, v.end);
  join(map_.emplace(begin, v).first);
}

void VmaList::protect(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) {
  split(begin);
  split(end);
  for (auto it = map_.lower_bound(begin); it != map_.end() && it->first < end; ++it) it->second.prot = prot;
  // Joining from the top keeps the iterators below valid.
  for (auto it = map_.lower_bound(begin); it != map_.end() && it->first <= end;) {
    const std::uint64_t at = it->first;
    join(it);
    it = map_.upper_bound(at);
  }
}

void VmaList::grow_down(std::uint64_t begin, std::uint64_t new_begin) {
  auto it = map_.find(begin);
  if (it == map_.end() || new_begin >= begin) return;
  Vma v = it->second;
  map_.erase(it);
  map_.emplace(new_begin, v);
}

}  // namespace hpcvmm::mem
