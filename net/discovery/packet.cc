#include "net/discovery/packet.hh"

#include <algorithm>
#include <cstring>

namespace hpcvmm::net::discovery {
namespace {

class Writer {
 public:
  template <class T> void put(T value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(&bytes[at], &value, sizeof value);
  }
  void put(const Record& r) {
    put(r.node);
    put(static_cast<std::uint8_t>(r.state));
    put(r.flags);
    put(r.address.port);
    put(r.version);
    put(r.life);
    put(r.machine);
    put(r.address.ip);
  }
  std::vector<std::byte> bytes;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  template <class T> void get(T& value) {
    if (left_.size() < sizeof value) {
      good_ = false;
      return;
    }
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
  }
  void get(Record& r) {
    std::uint8_t state = 0;
    get(r.node);
    get(state);
    get(r.flags);
    get(r.address.port);
    get(r.version);
    get(r.life);
    get(r.machine);
    get(r.address.ip);
    r.state = static_cast<State>(state);
    good_ = good_ && state >= 1 && state <= static_cast<std::uint8_t>(State::Left) && r.node >= 1 &&
            r.node <= kMaxNode && r.address.port != 0;
  }
  void get(std::vector<std::byte>& to, std::size_t bytes) {
    if (left_.size() < bytes) {
      good_ = false;
      return;
    }
    to.assign(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(bytes));
    left_ = left_.subspan(bytes);
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool done() const { return good_ && left_.empty(); }

 private:
  std::span<const std::byte> left_;
  bool good_ = true;
};

}  // namespace

std::vector<std::byte> encode(const Packet& p) {
  Writer w;
  const std::size_t load = std::min(p.load.size(), kMaxLoad);
  const std::size_t records = std::min(p.records.size(), kMaxRecords);
  const bool sync = p.type == Type::Sync && p.buckets.size() == kBuckets;
  w.bytes.reserve(112 + load + records * kRecordBytes + (sync ? kBuckets * 4 : 0));
  w.put(kVersion);
  w.put(static_cast<std::uint8_t>(p.type));
  w.put(p.flags);
  w.put(static_cast<std::uint8_t>(load));
  w.put(static_cast<std::uint16_t>(records));
  w.put(static_cast<std::uint16_t>(sync ? kBuckets : 0));
  w.put(p.self);
  w.put(p.sequence);
  w.put(p.wall_ms);
  w.put(p.epoch);
  w.put(p.digest);
  w.put(p.members);
  w.put(p.about);
  w.put(p.token);
  for (std::size_t i = 0; i < load; ++i) w.put(p.load[i]);
  for (std::size_t i = 0; i < records; ++i) w.put(p.records[i]);
  for (std::size_t i = 0; sync && i < kBuckets; ++i) w.put(p.buckets[i]);
  return std::move(w.bytes);
}

std::optional<Packet> parse(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxPacket) return std::nullopt;
  Reader r(bytes);
  Packet p;
  std::uint8_t version = 0, type = 0, load = 0;
  std::uint16_t records = 0, buckets = 0;
  r.get(version);
  r.get(type);
  r.get(p.flags);
  r.get(load);
  r.get(records);
  r.get(buckets);
  r.get(p.self);
  r.get(p.sequence);
  r.get(p.wall_ms);
  r.get(p.epoch);
  r.get(p.digest);
  r.get(p.members);
  r.get(p.about);
  r.get(p.token);
  const bool whole = r.good() && version == kVersion && type >= 1 &&
                     type <= static_cast<std::uint8_t>(kLastType) && load <= kMaxLoad &&
                     records <= kMaxRecords && p.about <= kMaxNode && p.members <= kMaxNode + 1;
  if (!whole) return std::nullopt;
  p.type = static_cast<Type>(type);
  if (buckets != (p.type == Type::Sync ? kBuckets : 0)) return std::nullopt;
  if (p.self.state != State::Alive && p.self.state != State::Left) return std::nullopt;
  r.get(p.load, load);
  p.records.resize(records);
  for (Record& record : p.records) r.get(record);
  p.buckets.resize(buckets);
  for (std::uint32_t& b : p.buckets) r.get(b);
  if (!r.done()) return std::nullopt;
  return p;
}

}  // namespace hpcvmm::net::discovery
