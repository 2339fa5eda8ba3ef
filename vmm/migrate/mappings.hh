// The memory that a process shares, as people are told of it.
#pragma once

#include <string_view>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::migrate {

/// `path`: of a mapped file as /proc/self/maps has it, empty for none.  Fills kind and name.  Pure.
void name_mapping(std::string_view path, wire::local::Mapping& out);

}  // namespace hpcvmm::migrate
