#include "net/transport/incoming.hh"

#include <algorithm>
#include <cstring>

namespace hpcvmm::net {

bool Incoming::data(const DataFrame& frame) {
  const Priority p = frame.priority;
  Stream& stream = at(p);
  const auto distance = static_cast<std::int32_t>(frame.message - static_cast<std::uint32_t>(stream.next));
  if (distance < 0) {
    duplicate_bytes_ += frame.bytes.size();
    return true;
  }
  const auto ahead = static_cast<std::size_t>(distance);
  if (ahead > window(p) / charge_of(0)) return false;
  const bool known = ahead < stream.waiting.size() && stream.waiting[ahead] != nullptr;
  if (ahead == 0 && !known && !stream.blocked && frame.whole()) {
    // The usual case: in order and in one packet; the handler sees it where the driver put it.
    if (deliver(stream, p, frame.channel, frame.bytes)) {
      if (!stream.waiting.empty()) stream.waiting.pop_front();
      drain(stream, p);
      return true;
    }
    if (*dead_) return true;
  }
  Assembly* const a = assembly(stream, frame, ahead);
  if (*dead_) return true;
  if (a == nullptr) return false;
  store(*a, frame);
  if (ahead == 0) drain(stream, p);
  return true;
}

Assembly* Incoming::assembly(Stream& stream, const DataFrame& frame, std::size_t ahead) {
  if (ahead < stream.waiting.size() && stream.waiting[ahead] != nullptr) {
    Assembly* const a = stream.waiting[ahead];
    return a->total == frame.total && a->channel == frame.channel ? a : nullptr;
  }
  const Priority p = frame.priority;
  if (stream.held + charge_of(frame.total) > window(p)) return nullptr;
  while (stream.waiting.size() <= ahead) stream.waiting.push_back() = nullptr;
  Assembly* const a = core_->assemblies.take();
  ++core_->stats.assemblies_live;
  a->channel = frame.channel;
  a->total = frame.total;
  a->got_bytes = 0;
  a->complete = false;
  a->lent = false;
  a->memory = nullptr;
  a->got.clear();
  stream.waiting[ahead] = a;
  stream.held += charge_of(frame.total);
  if (ahead == 0 && !frame.whole()) {
    a->memory = core_->handler.on_incoming(from_, frame.channel, p, frame.total);
    a->lent = a->memory != nullptr;
  }
  if (a->memory == nullptr) a->memory = core_->buffers.take(a->total);
  return a;
}

void Incoming::store(Assembly& a, const DataFrame& frame) {
  const std::uint64_t fresh = a.got.add(frame.offset, frame.offset + frame.bytes.size());
  duplicate_bytes_ += frame.bytes.size() - fresh;
  if (fresh != 0) std::memcpy(a.memory + frame.offset, frame.bytes.data(), frame.bytes.size());
  a.got_bytes += fresh;
  a.complete = a.got_bytes == a.total;
}

bool Incoming::deliver(Stream& stream, Priority p, std::uint32_t channel, Part bytes) {
  core_->worked = true;
  const Take take = core_->handler.on_message({from_, channel, p, bytes});
  if (*dead_) return false;
  if (take == Take::Later) {
    stream.blocked = true;
    return false;
  }
  ++stream.next;
  ++stream.messages;
  stream.bytes += bytes.size();
  stream.delivered += charge_of(bytes.size());
  return true;
}

void Incoming::drain(Stream& stream, Priority p) {
  while (!stream.blocked && !stream.waiting.empty()) {
    Assembly* const a = stream.waiting.front();
    if (a == nullptr || !a->complete) return;
    if (!deliver(stream, p, a->channel, {a->memory, a->total})) return;
    stream.waiting.pop_front();
    stream.held -= charge_of(a->total);
    free(a);
  }
}

void Incoming::resume(Priority p) {
  Stream& stream = at(p);
  if (!stream.blocked) return;
  stream.blocked = false;
  drain(stream, p);
}

std::uint64_t Incoming::limit(Priority p) const { return at(p).delivered + window(p); }

bool Incoming::news() const {
  for (std::size_t i = 0; i < kPriorities; ++i) {
    if (streams_[i].delivered - streams_[i].told > core_->config.tuning.window_bytes[i] / 4) return true;
  }
  return false;
}

void Incoming::told() {
  for (Stream& stream : streams_) stream.told = stream.delivered;
}

void Incoming::free(Assembly* a) {
  if (!a->lent) core_->buffers.give(a->memory, a->total);
  a->memory = nullptr;
  core_->assemblies.give(a);
  --core_->stats.assemblies_live;
}

void Incoming::clear() {
  for (std::size_t i = 0; i < kPriorities; ++i) {
    Stream& stream = streams_[i];
    while (!stream.waiting.empty()) {
      Assembly* const a = stream.waiting.front();
      stream.waiting.pop_front();
      if (a == nullptr) continue;
      const bool lent = a->lent;
      free(a);
      if (lent) core_->handler.on_abandoned(from_, static_cast<Priority>(i));
    }
  }
}

}  // namespace hpcvmm::net
