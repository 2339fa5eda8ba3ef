// The fuzz targets, each usable by libFuzzer and by the bounded GoogleTest.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::fuzz {

/// Feeds one input; aborts with a message if the code under test breaks a promise.
void elf(const std::uint8_t* data, std::size_t bytes);
void script(const std::uint8_t* data, std::size_t bytes);
void exit(const std::uint8_t* data, std::size_t bytes);
void frame(const std::uint8_t* data, std::size_t bytes);
void packet(const std::uint8_t* data, std::size_t bytes);
void call(const std::uint8_t* data, std::size_t bytes);

}  // namespace hpcvmm::fuzz
