// One end of a measurement of the transport: the same pages as in raw_end.hh, as messages.
#pragma once

#include "bench/net/raw_end.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::bench {

struct TransportEnd {
  EndConfig end;
  net::Protection protection = net::Protection::Auto;
  bool sender = false;   ///< node 1, else node 2
  bool verbose = false;  ///< what the transport counted, to stderr
};

/// Sends pages as fast as they are taken, for `seconds`; borrowed memory, one page a message.
Figures transport_send(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config);
/// Copies arriving pages out, until nothing has come for 0.3 s after the first.
Figures transport_receive(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config);
/// Asks for a page with a short message (Fault) and waits for it, for `seconds`.
Figures transport_ask(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config);
/// Answers, until nothing has been asked for 0.3 s after the first question.
Figures transport_answer(net::Driver& driver, net::Waiter& waiter, const TransportEnd& config);

}  // namespace hpcvmm::bench
