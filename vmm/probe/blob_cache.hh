// A second cache file beside host-facts: bytes that are slow to ask for and the same until the host changes.
#pragma once

#include <string>

namespace hpcvmm::probe {

/// The bytes stored under `path` for engine_cache_key() `key`; empty if there are none, or the file cannot be
/// trusted (another owner, writable by others, a link).  Threads: any.
std::string load_blob(const std::string& path, const std::string& key);
/// Stores them, for this user only.  A failure only costs the next reader the asking.
void store_blob(const std::string& path, const std::string& key, const std::string& bytes);

}  // namespace hpcvmm::probe
