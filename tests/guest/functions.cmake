# hpcvmm_guest(NAME [INTEGER_ONLY] [STATIC] [STATIC_PIE] [NO_PIE] [THREADS] [NO32] [NO64] [ROOT] [EXPECT STATUS]
#              [TIMEOUT SECONDS] [ENGINES kvm direct] [LIBS lib...] [ARGS arg...])
#
# One C file, NAME.c, built as NAME.64 and NAME.32; the CTest entries are native.BITS.NAME (passes on Linux itself, twice
# with the same output), kvm.64.NAME, direct.64.NAME and direct.32.NAME (same output and status as natively).
#   INTEGER_ONLY  freestanding (bare.h): no libc, no SSE, no x87.  Only these get kvm.32.NAME, because a KVM without
#                 hardware virtualisation emulates 32-bit code without them.
#   EXPECT        exit status, or signal name such as SIGABRT, of the native run; 0 if absent.
#   ENGINES       engines that can be asked to pass it; both if absent.
set(HPCVMM_GUEST_RUNNER ${CMAKE_CURRENT_LIST_DIR}/run_guest.py)
set(HPCVMM_GUEST_VMM ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/hpc-vmm)

function(hpcvmm_guest_binary name bits)
  set(target guest.${name}.${bits})
  add_executable(${target} ${name}.c)
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${name}.${bits} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}
    C_STANDARD 11 C_STANDARD_REQUIRED ON )
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/guest)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE _FILE_OFFSET_BITS=64)
  # Wrong pointers, counts and frames are the subject of many tests: the compiler must neither mind nor optimise them.
  target_compile_options(${target} PRIVATE -m${bits} -Wall -Wextra -Werror -fno-omit-frame-pointer
    -fno-delete-null-pointer-checks -Wno-array-bounds -Wno-stringop-overread -Wno-stringop-overflow -Wno-clobbered -Wno-nonnull)
  target_link_options(${target} PRIVATE -m${bits})
  if(A_INTEGER_ONLY)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -ffreestanding -fno-stack-protector -mgeneral-regs-only -fcf-protection=none
                           -fno-pie -fno-asynchronous-unwind-tables)
    target_link_options(${target} PRIVATE -nostdlib -static -no-pie)
    target_link_libraries(${target} PRIVATE gcc)
  elseif(A_STATIC)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fno-pie)
    target_link_options(${target} PRIVATE -static -no-pie)
  elseif(A_STATIC_PIE)
    target_compile_options(${target} PRIVATE -fPIE)
    target_link_options(${target} PRIVATE -static-pie)
  elseif(A_NO_PIE)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fno-pie)
    target_link_options(${target} PRIVATE -no-pie)
  else()
    target_compile_options(${target} PRIVATE -fPIE)
    target_link_options(${target} PRIVATE -pie)
  endif()
  if(A_THREADS)
    target_compile_options(${target} PRIVATE -pthread)
    target_link_options(${target} PRIVATE -pthread)
  endif()
  target_link_libraries(${target} PRIVATE ${A_LIBS})
endfunction()

# One CTest entry for a program that is built already; takes A_EXPECT, A_TIMEOUT and A_ARGS from its caller.
function(hpcvmm_program_test name bits engine target)
  set(test ${engine}.${bits}.${name})
  set(vmm)
  if(NOT engine STREQUAL native)
    set(vmm --hpc-vmm ${HPCVMM_GUEST_VMM})
  endif()
  add_test(NAME ${test} COMMAND ${HPCVMM_GUEST_RUNNER} --engine ${engine} ${vmm} --expect ${A_EXPECT}
    --timeout ${A_TIMEOUT} --work ${CMAKE_CURRENT_BINARY_DIR}/scratch/${test} -- $<TARGET_FILE:${target}> ${A_ARGS})
  # Two runs, each with its own limit in the runner, which cleans up; CTest's limit is the last resort.
  math(EXPR limit "${A_TIMEOUT} * 2 + 20")
  set_tests_properties(${test} PROPERTIES LABELS ${engine} TIMEOUT ${limit} SKIP_RETURN_CODE 77)
  if(NOT engine STREQUAL native)
    set_tests_properties(${test} PROPERTIES DEPENDS native.${bits}.${name})
  endif()
endfunction()

function(hpcvmm_guest name)
  cmake_parse_arguments(A "INTEGER_ONLY;STATIC;STATIC_PIE;NO_PIE;THREADS;NO32;NO64" "EXPECT;TIMEOUT"
    "ENGINES;LIBS;ARGS" ${ARGN})
  if(A_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "hpcvmm_guest(${name}): unknown argument ${A_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT A_EXPECT)
    set(A_EXPECT 0)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 60)
  endif()
  if(NOT A_ENGINES)
    set(A_ENGINES kvm direct)
  endif()
  foreach(bits 64 32)
    if(A_NO${bits})
      continue()
    endif()
    hpcvmm_guest_binary(${name} ${bits})
    hpcvmm_program_test(${name} ${bits} native guest.${name}.${bits})
    foreach(engine ${A_ENGINES})
      if(engine STREQUAL kvm AND bits EQUAL 32 AND NOT A_INTEGER_ONLY)
        continue()
      endif()
      hpcvmm_program_test(${name} ${bits} ${engine} guest.${name}.${bits})
    endforeach()
  endforeach()
endfunction()

