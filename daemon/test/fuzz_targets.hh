// Fuzz targets of hpcd's parsers, each usable by libFuzzer and by the bounded GoogleTest.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::fuzz {

// Each feeds one input and aborts with a message if the parser breaks a promise of its header.
void local_message(const std::uint8_t* data, std::size_t bytes);
void peer_message(const std::uint8_t* data, std::size_t bytes);
void api_request(const std::uint8_t* data, std::size_t bytes);
void discovery_packet(const std::uint8_t* data, std::size_t bytes);
void map_file(const std::uint8_t* data, std::size_t bytes);
void hpcd_config(const std::uint8_t* data, std::size_t bytes);

}  // namespace hpcvmm::fuzz
