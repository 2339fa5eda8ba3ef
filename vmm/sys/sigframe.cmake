# Signal frames and siginfo: a library of its own, since they need nothing of the table; the proof of their layouts for
# both ABIs; their tests.
hpcvmm_library(hpcvmm_sigframe siginfo.cc sigframe.cc sigframe_fp.cc sigframe_x64.cc sigframe_ia32.cc)
target_link_libraries(hpcvmm_sys PUBLIC hpcvmm_sigframe)

foreach(bits 64 32)
  # Never linked: it compiles or it does not.
  add_library(hpcvmm_sys_frame_layout${bits} OBJECT sigframe_layout_check.cc)
  target_link_libraries(hpcvmm_sys_frame_layout${bits} PRIVATE hpcvmm_options)
  target_compile_options(hpcvmm_sys_frame_layout${bits} PRIVATE -m${bits})

  # Runs natively and shows what this kernel does.  No sanitizer: the comparison is of bare stacks.
  add_executable(sigframe_dump${bits} sigframe_dump.c)
  set_target_properties(sigframe_dump${bits} PROPERTIES
    POSITION_INDEPENDENT_CODE OFF RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(sigframe_dump${bits} PRIVATE _GNU_SOURCE)
  target_compile_options(sigframe_dump${bits} PRIVATE -m${bits} -fno-pie -Wall -Wextra -Werror)
  target_link_options(sigframe_dump${bits} PRIVATE -m${bits} -static -no-pie)
endforeach()

hpcvmm_unit_test(siginfo_test siginfo_test.cc LINK hpcvmm_sigframe)
hpcvmm_unit_test(sigframe_test sigframe_test.cc LINK hpcvmm_sigframe)
hpcvmm_unit_test(sigframe_kernel_test sigframe_kernel_test.cc LINK hpcvmm_sigframe)
target_compile_definitions(sigframe_kernel_test PRIVATE
  SIGFRAME_DUMP64="$<TARGET_FILE:sigframe_dump64>" SIGFRAME_DUMP32="$<TARGET_FILE:sigframe_dump32>")
add_dependencies(sigframe_kernel_test sigframe_dump64 sigframe_dump32)
