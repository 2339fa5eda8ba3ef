#include "net/driver/faulty/faulty.hh"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace hpcvmm::net {
namespace {

// What overtaken packets wait where no delay says more.
constexpr Nanos kReorderDelay = 300 * kMicrosecond;

bool number(std::string_view text, double& value, std::string_view& unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0) return false;
  unit = text.substr(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool probability(std::string_view text, double& p) {
  std::string_view unit;
  if (!number(text, p, unit) || (!unit.empty() && unit != "%")) return false;
  if (unit == "%") p /= 100;
  return p <= 1;
}

bool duration(std::string_view text, Nanos& t) {
  double value = 0;
  std::string_view unit;
  if (!number(text, value, unit)) return false;
  const double scale = unit == "us" ? 1e3 : unit == "ms" ? 1e6 : unit == "s" ? 1e9 : 0;
  if (scale == 0 || value * scale > 60e9) return false;
  t = static_cast<Nanos>(value * scale);
  return true;
}

bool ip_address(std::string_view text, std::vector<Address>& list) {
  auto address = Address::parse(text);
  if (!address) return false;
  address->port = 0;
  list.push_back(*address);
  return true;
}

bool integer(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_item(std::string_view item, Faults& out) {
  const std::size_t equals = item.find('=');
  const std::string_view name = item.substr(0, equals);
  if (equals == std::string_view::npos) {
    if (name != "cut") return false;
    out.cut_all = true;
    return true;
  }
  const std::string_view value = item.substr(equals + 1);
  if (name == "loss") return probability(value, out.loss);
  if (name == "dup") return probability(value, out.duplicate);
  if (name == "reorder") return probability(value, out.reorder);
  if (name == "corrupt") return probability(value, out.corrupt);
  if (name == "delay") return duration(value, out.delay);
  if (name == "jitter") return duration(value, out.jitter);
  if (name == "seed") return integer(value, out.seed);
  if (name == "cut") return ip_address(value, out.cut);
  return false;
}

}  // namespace

bool Faults::any() const {
  return loss > 0 || duplicate > 0 || reorder > 0 || corrupt > 0 || delay != 0 || jitter != 0 || cut_all ||
         !cut.empty();
}

bool Faults::parse(std::string_view text, Faults& out, std::string& problem) {
  Faults faults;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    if (item.empty()) continue;
    if (parse_item(item, faults)) continue;
    problem = "faults: \"" + std::string(item) +
              "\" is none of loss=P, dup=P, reorder=P, corrupt=P (0.01 or 1%), delay=T, jitter=T (200us, "
              "1ms; up to 60s), "
              "seed=N, cut, cut=IP";
    return false;
  }
  out = faults;
  return true;
}

Result<std::unique_ptr<FaultyDriver>> FaultyDriver::create(std::unique_ptr<Driver> inner, const Clock& clock,
                                                           const Faults& faults) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) return Error::last("faulty driver: timerfd_create");
  return std::unique_ptr<FaultyDriver>(new FaultyDriver(std::move(inner), clock, faults, std::move(timer)));
}

FaultyDriver::FaultyDriver(std::unique_ptr<Driver> inner, const Clock& clock, const Faults& faults,
                           UniqueFd timer)
    : inner_(std::move(inner)), clock_(&clock), timer_(std::move(timer)) {
  const auto fds = inner_->wait_fds();
  wait_fds_.assign(fds.begin(), fds.end());
  wait_fds_.push_back(timer_.get());
  set(faults);
}

void FaultyDriver::set(const Faults& faults) {
  faults_ = faults;
  active_ = faults.any();
  random_.seed(faults.seed);
}

bool FaultyDriver::chance(double p) { return p > 0 && static_cast<double>(random_() >> 11) * 0x1.0p-53 < p; }

bool FaultyDriver::is_cut(const Address& a) const {
  if (faults_.cut_all) return true;
  return std::any_of(faults_.cut.begin(), faults_.cut.end(), [&a](const Address& c) { return c.ip == a.ip; });
}

void FaultyDriver::hold(const Address& to, const TxPacket& packet, Nanos for_how_long) {
  late_.push({clock_->now() + for_how_long, order_++, to, {packet.data, packet.data + packet.bytes}});
}

// True: the packet is not to be sent now (or never).
bool FaultyDriver::spoil(const Address& to, TxPacket& packet) {
  if (is_cut(to) || chance(faults_.loss)) {
    ++lost_;
    return true;
  }
  if (packet.bytes != 0 && chance(faults_.corrupt)) {
    ++corrupted_;
    packet.data[random_() % packet.bytes] ^= static_cast<std::byte>(1U << (random_() % 8));
  }
  const Nanos delay = faults_.delay + (faults_.jitter != 0 ? random_() % faults_.jitter : 0);
  if (chance(faults_.duplicate)) {
    ++duplicated_;
    hold(to, packet, delay + kReorderDelay / 2);
  }
  const bool late = chance(faults_.reorder);
  if (late) ++held_up_;
  if (!late && delay == 0) return false;
  hold(to, packet, late ? delay + kReorderDelay : delay);
  return true;
}

std::size_t FaultyDriver::send(const Address& to, std::span<TxPacket> packets) {
  send_late();
  if (!active_) return inner_->send(to, packets);
  std::size_t done = 0;
  for (; done < packets.size(); ++done) {
    // A packet is judged once only: one that the device refuses is the caller's again and looks new.
    TxPacket& packet = packets[done];
    if (spoil(to, packet)) {
      inner_->free({&packet, 1});
    } else if (inner_->send(to, {&packet, 1}) == 0) {
      break;
    }
  }
  return done;
}

void FaultyDriver::send_late() {
  while (!late_.empty() && late_.top().due <= clock_->now()) {
    const Late& late = late_.top();
    TxPacket packet;
    if (inner_->alloc({&packet, 1}) == 0) return;
    std::memcpy(packet.data, late.bytes.data(), late.bytes.size());
    packet.bytes = static_cast<std::uint32_t>(late.bytes.size());
    if (inner_->send(late.to, {&packet, 1}) == 0) {
      inner_->free({&packet, 1});
      return;
    }
    late_.pop();
  }
}

std::size_t FaultyDriver::receive(std::span<RxPacket> out) {
  send_late();
  const std::size_t n = inner_->receive(out);
  if (!active_ || (!faults_.cut_all && faults_.cut.empty())) return n;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (is_cut(out[i].from)) {
      ++lost_;
      inner_->release({&out[i], 1});
    } else {
      out[kept++] = out[i];
    }
  }
  return kept;
}

bool FaultyDriver::prepare_sleep() {
  // Most links have no faults, and hpcd sleeps often.
  if (late_.empty() && !timer_is_set_) return inner_->prepare_sleep();
  itimerspec when{};
  if (!late_.empty()) {
    // The timer is relative: `clock` need not be the system's.
    const Nanos now = clock_->now();
    const Nanos left = late_.top().due > now ? late_.top().due - now : 1;
    when.it_value.tv_sec = static_cast<time_t>(left / kSecond);
    when.it_value.tv_nsec = static_cast<long>(left % kSecond);
  }
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
  timer_is_set_ = !late_.empty();
  return inner_->prepare_sleep();
}

void FaultyDriver::finish_sleep() {
  std::uint64_t times = 0;
  if (!timer_is_set_) return inner_->finish_sleep();
  // Empty when it was not the timer that woke: nothing to do then.
  static_cast<void>(::read(timer_.get(), &times, sizeof times) == 0);
  inner_->finish_sleep();
}

void FaultyDriver::more_counters(const std::function<void(std::string_view, std::uint64_t)>& each) const {
  each("faulty_lost", lost_);
  each("faulty_duplicated", duplicated_);
  each("faulty_held_up", held_up_);
  each("faulty_corrupted", corrupted_);
  inner_->more_counters(each);
}

}  // namespace hpcvmm::net
