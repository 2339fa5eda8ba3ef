#include "net/transport/peer.hh"

#include <algorithm>

namespace hpcvmm::net {

void PeerHeap::set(Peer& peer, Nanos deadline) {
  peer.deadline = deadline;
  if (peer.heap_index == kNone) {
    heap_.push_back(&peer);
    peer.heap_index = heap_.size() - 1;
  }
  sift(peer.heap_index);
}

void PeerHeap::remove(Peer& peer) {
  if (peer.heap_index == kNone) return;
  const std::size_t i = peer.heap_index;
  peer.heap_index = kNone;
  Peer* const last = heap_.back();
  heap_.pop_back();
  if (last == &peer) return;
  place(i, last);
  sift(i);
}

void PeerHeap::sift(std::size_t i) {
  Peer* const p = heap_[i];
  while (i != 0 && heap_[(i - 1) / 2]->deadline > p->deadline) {
    place(i, heap_[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  for (;;) {
    std::size_t child = 2 * i + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) ++child;
    if (heap_[child]->deadline >= p->deadline) break;
    place(i, heap_[child]);
    i = child;
  }
  place(i, p);
}

void add_up(PeerStats& past, const PeerStats& session) {
  PeerStats sum = session;
  sum.up = past.up;
  sum.sessions = past.sessions;
  for (std::size_t i = 0; i < kPriorities; ++i) {
    sum.streams[i].tx_messages += past.streams[i].tx_messages;
    sum.streams[i].tx_bytes += past.streams[i].tx_bytes;
    sum.streams[i].rx_messages += past.streams[i].rx_messages;
    sum.streams[i].rx_bytes += past.streams[i].rx_bytes;
  }
  for (const auto member :
       {&PeerStats::tx_packets, &PeerStats::rx_packets, &PeerStats::lost_packets, &PeerStats::spurious_losses,
        &PeerStats::resent_bytes, &PeerStats::duplicate_bytes, &PeerStats::probe_timeouts, &PeerStats::rekeys,
        &PeerStats::window_stalls}) {
    sum.*member += past.*member;
  }
  past = sum;
}

}  // namespace hpcvmm::net
