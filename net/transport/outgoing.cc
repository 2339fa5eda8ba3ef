#include "net/transport/outgoing.hh"

#include <algorithm>
#include <cstring>

namespace hpcvmm::net {
namespace {

// A piece shorter than this is not worth its header where the rest of the message does not fit.
constexpr std::uint32_t kLeastPiece = 256;

}  // namespace

void OutMessage::copy(std::uint32_t offset, std::uint32_t length, std::byte* to) const {
  for (std::size_t i = 0; i < part_count && length != 0; ++i) {
    const Part& part = parts[i];
    if (offset >= part.size()) {
      offset -= static_cast<std::uint32_t>(part.size());
      continue;
    }
    const std::size_t n = std::min<std::size_t>(length, part.size() - offset);
    std::memcpy(to, part.data() + offset, n);
    to += n;
    length -= static_cast<std::uint32_t>(n);
    offset = 0;
  }
}

Outgoing::Outgoing(Core& core) : core_(&core) {
  // Until the first acknowledgement tells more, the peer is taken to be configured like this node.
  for (std::size_t p = 0; p < kPriorities; ++p) streams_[p].limit = core.config.tuning.window_bytes[p];
}

std::uint64_t Outgoing::room(Priority p) const {
  const std::uint64_t limit = core_->config.tuning.queue_bytes[static_cast<std::size_t>(p)];
  const std::uint64_t used = at(p).queued + charge_of(0);
  return limit > used ? limit - used : 0;
}

Status Outgoing::push(Priority p, std::uint32_t channel, std::span<const Part> parts, bool borrowed,
                      std::uint64_t token) {
  Stream& stream = at(p);
  std::size_t total = 0;
  for (const Part& part : parts) total += part.size();
  if (total > room(p) || room(p) == 0) {
    stream.starved = true;
    return Error::of(EAGAIN, "Transport::send: the queue of this priority is full");
  }
  OutMessage* const m = core_->messages.take();
  m->seq = stream.seq++;
  m->total = static_cast<std::uint32_t>(total);
  m->channel = channel;
  m->priority = p;
  m->token = token;
  m->borrowed = borrowed;
  m->done = false;
  m->next_offset = 0;
  m->refs = 1;  // the queue's
  m->own = nullptr;
  m->acked.clear();
  if (borrowed) {
    m->part_count = static_cast<std::uint8_t>(parts.size());
    std::copy(parts.begin(), parts.end(), m->parts.begin());
  } else {
    m->own = core_->buffers.take(m->total);
    m->part_count = 1;
    m->parts[0] = Part(m->own, total);
    std::byte* to = m->own;
    for (const Part& part : parts) {
      if (!part.empty()) std::memcpy(to, part.data(), part.size());
      to += part.size();
    }
  }
  stream.charge += charge_of(total);
  m->charge_end = stream.charge;
  stream.queued += charge_of(total);
  ++stream.messages;
  stream.bytes += total;
  stream.queue.push_back() = m;
  ++core_->stats.messages_live;
  return Unit{};
}

bool Outgoing::ready(Priority p) const {
  const Stream& stream = at(p);
  if (!stream.resend.empty()) return true;
  return !stream.queue.empty() && stream.queue[0]->charge_end <= stream.limit;
}

bool Outgoing::stalled(Priority p) const {
  const Stream& stream = at(p);
  return stream.resend.empty() && !stream.queue.empty() && stream.queue[0]->charge_end > stream.limit;
}

std::uint32_t Outgoing::fit(const OutMessage& m, std::uint32_t offset, std::uint32_t wanted,
                            const FrameWriter& to) {
  // The length on the wire has 16 bits.
  wanted = std::min<std::uint32_t>(wanted, 0xffff);
  const std::size_t room = to.room();
  if (offset == 0 && wanted == m.total && room >= kWholeBytes + wanted) return wanted;
  if (m.total == 0 || room <= kPieceBytes) return 0;
  const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(wanted, room - kPieceBytes));
  // A piece as long as the message would be a whole one and has fitted above.
  return length < wanted && length < kLeastPiece ? 0 : length;
}

void Outgoing::write_piece(OutMessage& m, std::uint32_t offset, std::uint32_t length, FrameWriter& to) {
  DataFrame head;
  head.priority = m.priority;
  head.channel = m.channel;
  head.message = static_cast<std::uint32_t>(m.seq);
  head.total = m.total;
  head.offset = offset;
  std::byte* const place = to.data(head, length);
  m.copy(offset, length, place);
}

bool Outgoing::write(Priority p, FrameWriter& to, Piece& piece, bool first) {
  Stream& stream = at(p);
  if (!stream.resend.empty()) return write_again(stream, to, piece, first);
  return write_new(stream, to, piece, first);
}

bool Outgoing::write_again(Stream& stream, FrameWriter& to, Piece& piece, bool first) {
  while (!stream.resend.empty()) {
    Piece& old = stream.resend.front();
    OutMessage& m = *old.message;
    // What was acknowledged meanwhile is skipped.
    const std::uint32_t end = old.offset + old.bytes;
    std::uint32_t from = m.done ? end : static_cast<std::uint32_t>(m.acked.covered_until(old.offset));
    if (m.done || (from >= end && m.total != 0)) {
      stream.resend.pop_front();
      unref(&m);
      continue;
    }
    from = std::min(from, end);
    const auto until = static_cast<std::uint32_t>(m.acked.next_begin(from, end));
    const std::uint32_t length = fit(m, from, std::min(until, end) - from, to);
    if (length == 0 && m.total != 0) return false;
    if (m.total == 0 && to.room() < kWholeBytes) return false;
    write_piece(m, from, length, to);
    resent_bytes_ += length;
    piece = {&m, from, length};
    old.bytes = end - from - length;
    old.offset = from + length;
    if (old.bytes == 0) {
      stream.resend.pop_front();  // its reference becomes the piece's
    } else {
      ++m.refs;
    }
    return true;
  }
  return write_new(stream, to, piece, first);
}

bool Outgoing::write_new(Stream& stream, FrameWriter& to, Piece& piece, bool first) {
  if (stream.queue.empty()) return false;
  OutMessage& m = *stream.queue.front();
  if (m.charge_end > stream.limit) return false;
  const std::uint32_t offset = m.next_offset;
  // A page is not cut in two where the next packet takes it whole: putting it together again is a copy more.
  const bool next_takes_it = offset == 0 && m.total + kWholeBytes <= to.capacity();
  if (!first && next_takes_it && m.total + kWholeBytes > to.room()) return false;
  const std::uint32_t length = fit(m, offset, m.total - offset, to);
  if (length == 0 && (m.total != 0 || to.room() < kWholeBytes)) return false;
  write_piece(m, offset, length, to);
  m.next_offset += length;
  piece = {&m, offset, length};
  if (m.next_offset == m.total) {
    stream.queue.pop_front();  // its reference becomes the piece's
  } else {
    ++m.refs;
  }
  return true;
}

void Outgoing::acked(const Piece& piece) {
  OutMessage* const m = piece.message;
  if (!m->done) {
    const bool all_at_once = piece.bytes == m->total;
    if (!all_at_once) m->acked.add(piece.offset, piece.offset + std::uint64_t{piece.bytes});
    if (all_at_once || m->acked.covered_until(0) == m->total) release(m);
  }
  unref(m);
}

void Outgoing::lost(const Piece& piece) {
  if (piece.message->done) {
    unref(piece.message);
    return;
  }
  at(piece.message->priority).resend.push_back() = piece;
}

void Outgoing::again(const Piece& piece) {
  if (piece.message->done) return;
  ++piece.message->refs;
  at(piece.message->priority).resend.push_back() = piece;
}

void Outgoing::abandon(const Piece& piece) {
  if (!piece.message->done) release(piece.message);
  unref(piece.message);
}

void Outgoing::set_limit(Priority p, std::uint64_t limit) {
  // Acknowledgements may overtake each other; what was allowed once stays allowed.
  at(p).limit = std::max(at(p).limit, limit);
}

bool Outgoing::next_writable(Priority& p) {
  for (std::size_t i = 0; i < kPriorities; ++i) {
    Stream& stream = streams_[i];
    const std::uint64_t limit = core_->config.tuning.queue_bytes[i];
    if (!stream.starved || stream.queued > limit - limit / 4) continue;
    stream.starved = false;
    p = static_cast<Priority>(i);
    return true;
  }
  return false;
}

void Outgoing::release(OutMessage* m) {
  m->done = true;
  at(m->priority).queued -= charge_of(m->total);
  if (m->own != nullptr) core_->buffers.give(m->own, m->total);
  m->own = nullptr;
  m->part_count = 0;
  if (m->borrowed) core_->handler.on_released(m->token);
}

void Outgoing::unref(OutMessage* m) {
  if (--m->refs != 0) return;
  core_->messages.give(m);
  --core_->stats.messages_live;
}

void Outgoing::clear() {
  for (Stream& stream : streams_) {
    while (!stream.queue.empty()) {
      OutMessage* const m = stream.queue.front();
      stream.queue.pop_front();
      if (!m->done) release(m);
      unref(m);
    }
    while (!stream.resend.empty()) {
      OutMessage* const m = stream.resend.front().message;
      stream.resend.pop_front();
      if (!m->done) release(m);
      unref(m);
    }
  }
}

}  // namespace hpcvmm::net
