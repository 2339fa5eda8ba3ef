// /metrics in Prometheus' text format, and the few words of HTTP that it takes.
#include "daemon/hpcd.hh"
#include "daemon/metrics_text.hh"

namespace hpcvmm::daemon {

namespace {
void add_streams(MetricsText& out, const net::Transport& transport, const Members& members) {
  struct Row {
    Node node;
    net::PeerStats stats;
  };
  std::vector<Row> rows;
  for (const auto& [id, m] : members.all())
    if (const auto stats = transport.peer_stats(id)) rows.push_back({id, *stats});
  const auto each = [&](const char* name, const char* help, const char* type, const auto& value) {
    out.family(name, help, type);
    for (const Row& r : rows)
      out.sample(name, {{"peer", std::to_string(r.node)}}, static_cast<double>(value(r.stats)));
  };
  using Stats = net::PeerStats;
  each("hpcd_peer_up", "1 while connected.", "gauge", [](const Stats& s) { return s.up ? 1 : 0; });
  each("hpcd_peer_rtt_seconds", "Smoothed round trip.", "gauge",
       [](const Stats& s) { return static_cast<double>(s.srtt) / 1e9; });
  each("hpcd_peer_sessions_total", "Times it came up.", "counter", [](const Stats& s) { return s.sessions; });
  each("hpcd_peer_lost_packets_total", "Packets declared lost.", "counter",
       [](const Stats& s) { return s.lost_packets; });
  each("hpcd_peer_resent_bytes_total", "Bytes of messages sent again.", "counter",
       [](const Stats& s) { return s.resent_bytes; });
  each("hpcd_peer_congestion_window_bytes", "Congestion window.", "gauge",
       [](const Stats& s) { return s.congestion_window; });
  static constexpr std::array kNames{"control", "fault", "bulk"};
  for (const bool sent : {true, false}) {
    const char* const name = sent ? "hpcd_stream_sent_bytes_total" : "hpcd_stream_received_bytes_total";
    out.family(name, "Bytes of messages by priority.", "counter");
    for (const Row& r : rows)
      for (std::size_t p = 0; p < kNames.size(); ++p)
        out.sample(name, {{"peer", std::to_string(r.node)}, {"priority", kNames[p]}},
                   static_cast<double>(sent ? r.stats.streams[p].tx_bytes : r.stats.streams[p].rx_bytes));
  }
}

void add_drops(MetricsText& out, const net::Transport& transport) {
  out.family("hpcd_dropped_packets_total", "Received packets that were refused, by reason.", "counter");
  const net::Stats& stats = transport.stats();
  for (std::size_t d = 0; d < net::kDrops; ++d)
    out.sample("hpcd_dropped_packets_total",
               {{"reason", std::string(net::drop_name(static_cast<net::Drop>(d)))}},
               static_cast<double>(stats.drops[d]));
}
void add_balance(MetricsText& out, const Balance::Counters& c) {
  const auto one = [&out](const char* name, const char* help, std::uint64_t value) {
    out.family(name, help, "counter");
    out.sample(name, {}, static_cast<double>(value));
  };
  one("hpcd_balancer_moves_total", "Moves that the balancer has begun, guests' included.", c.moves);
  one("hpcd_balancer_placements_total", "Processes that were started on another node.", c.placements);
  one("hpcd_balancer_refused_total", "Moves that failed, and processes not taken.", c.refused);
  one("hpcd_balancer_gossip_messages_total", "Messages about load that were sent.", c.gossip_messages);
  one("hpcd_balancer_gossip_bytes_total", "Their bytes.", c.gossip_bytes);
}
}  // namespace

std::string Hpcd::metrics() const {
  MetricsText out;
  const auto one = [&out](const char* name, const char* help, const char* type, double value) {
    out.family(name, help, type);
    out.sample(name, {}, value);
  };
  one("hpcd_node", "This node's number.", "gauge", config_.node);
  one("hpcd_epoch", "Membership epoch.", "gauge", static_cast<double>(members_.epoch()));
  one("hpcd_processes", "Processes at home here.", "gauge", own_.processes);
  one("hpcd_guests", "Processes of other nodes that run here.", "gauge",
      static_cast<double>(remotes_.all().size()));
  one("hpcd_guests_started_total", "Remotes started.", "counter", static_cast<double>(remotes_.started()));
  one("hpcd_guests_refused_total", "Requests for room refused.", "counter",
      static_cast<double>(remotes_.refused()));
  one("hpcd_spare_remotes", "Remotes kept ready for who comes next.", "gauge",
      static_cast<double>(remotes_.spares()));
  const names::Source::Counters& n = names_.counters();
  one("hpcd_names_asked_total", "Paths whose facts other nodes asked for.", "counter",
      static_cast<double>(n.asked));
  one("hpcd_names_told_total", "Facts about names and files told to other nodes.", "counter",
      static_cast<double>(n.told));
  one("hpcd_names_taken_back_total", "Facts taken back because something changed.", "counter",
      static_cast<double>(n.taken_back));
  const Files::Counters& f = files_.counters();
  one("hpcd_files_read_total", "Files whose content was looked at.", "counter",
      static_cast<double>(f.hashed));
  one("hpcd_files_given_total", "Copies of files handed to remotes.", "counter",
      static_cast<double>(f.given));
  one("hpcd_file_copy_bytes", "Memory in copies of files.", "gauge",
      static_cast<double>(files_.copies_bytes()));
  one("hpcd_moves_total", "Moves done.", "counter", static_cast<double>(moves_.done()));
  one("hpcd_moves_failed_total", "Moves not done.", "counter", static_cast<double>(moves_.failed()));
  add_balance(out, balance_.counters());
  one("hpcd_circuits", "Open channels.", "gauge", static_cast<double>(relay_.circuits().size()));
  const RelayCounters& r = relay_.counters();
  one("hpcd_records_out_total", "Records sent for processes here.", "counter",
      static_cast<double>(r.records_out));
  one("hpcd_records_in_total", "Records received for them.", "counter", static_cast<double>(r.records_in));
  one("hpcd_record_bytes_out_total", "Their bytes.", "counter", static_cast<double>(r.bytes_out));
  one("hpcd_record_bytes_in_total", "Their bytes.", "counter", static_cast<double>(r.bytes_in));
  one("hpcd_records_dropped_total", "Records of channels that had ended.", "counter",
      static_cast<double>(r.dropped));
  one("hpcd_records_overflow_total", "Records that found a ring full.", "counter",
      static_cast<double>(r.overflow));
  one("hpcd_stalls_total", "Times the transport had no room.", "counter", static_cast<double>(r.stalls));
  const net::DriverCounters d = const_cast<Hpcd*>(this)->link_.driver().counters();
  one("hpcd_driver_sent_packets_total", "Packets.", "counter", static_cast<double>(d.tx_packets));
  one("hpcd_driver_sent_bytes_total", "Payload.", "counter", static_cast<double>(d.tx_bytes));
  one("hpcd_driver_received_bytes_total", "Payload.", "counter", static_cast<double>(d.rx_bytes));
  one("hpcd_driver_received_packets_total", "Packets.", "counter", static_cast<double>(d.rx_packets));
  one("hpcd_driver_send_errors_total", "Packets that could not be sent.", "counter",
      static_cast<double>(d.tx_errors));
  one("hpcd_driver_receive_errors_total", "Packets that made no sense.", "counter",
      static_cast<double>(d.rx_errors));
  add_streams(out, *transport_, members_);
  add_drops(out, *transport_);
  return out.text();
}

void Hpcd::on_http(StreamServer::Id id, std::string& input) {
  if (input.find("\r\n\r\n") == std::string::npos) return;  // the limit of input ends a header that goes on
  const std::string first = input.substr(0, input.find("\r\n"));
  input.clear();
  http_.send(id, http_answer(first, [this] { return metrics(); }));
  http_.finish(id);
}

}  // namespace hpcvmm::daemon
