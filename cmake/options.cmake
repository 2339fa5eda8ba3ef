option(HPCVMM_BENCH "build bench/ (needs Google Benchmark)" ON)
option(HPCVMM_FUZZ "build tests/fuzz with libFuzzer (clang only)" OFF)
set(HPCVMM_SANITIZE "" CACHE STRING "address, undefined or thread: unit tests only, the VMM itself is static")

add_library(hpcvmm_options INTERFACE)
target_include_directories(hpcvmm_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_options(hpcvmm_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror>
  $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Werror>)
target_compile_definitions(hpcvmm_options INTERFACE _GNU_SOURCE HPCVMM_VERSION="${PROJECT_VERSION}")
if(HPCVMM_SANITIZE)
  target_compile_options(hpcvmm_options INTERFACE -fsanitize=${HPCVMM_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(hpcvmm_options INTERFACE -fsanitize=${HPCVMM_SANITIZE})
endif()

# What runs in a deputy: no exceptions, no RTTI, no stack protector (its canary lives behind the FS base, which a
# guest of the direct engine owns when a signal handler starts).
# Not for whoever links such a library: the command line uses CLI11, which throws.
add_library(hpcvmm_core_options INTERFACE)
target_compile_options(hpcvmm_core_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti> -fno-stack-protector -fcf-protection=none)

# hpcvmm_library(NAME SOURCES... [LINK libs...]): a static library of the VMM core.
function(hpcvmm_library name)
  cmake_parse_arguments(A "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${A_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC hpcvmm_options ${A_LINK} PRIVATE hpcvmm_core_options)
endfunction()
