// Pool: mbufs of one size.  Internal.
#pragma once

#include <string>
#include <utility>

#include "hpcvmm/base/result.hh"

struct rte_mempool;

namespace hpcvmm::net::dpdk {

class Pool {
 public:
  Pool() = default;
  /// `count` mbufs with `buffer_bytes` of room behind the headroom.  Errors: ENOMEM, `why` names the remedy.
  static Result<Pool> create(unsigned count, std::uint32_t buffer_bytes, std::string& why);
  Pool(Pool&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
  Pool& operator=(Pool&& other) noexcept {
    std::swap(pool_, other.pool_);
    return *this;
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();
  [[nodiscard]] rte_mempool* get() const { return pool_; }

 private:
  explicit Pool(rte_mempool* pool) : pool_(pool) {}
  rte_mempool* pool_ = nullptr;
};

}  // namespace hpcvmm::net::dpdk
