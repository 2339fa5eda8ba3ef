# hpcvmm_fixed_image(TARGET): link a static executable at kImageBase of include/hpcvmm/base/layout.hh.
#
# Neither -static (crtbeginT.o holds 32-bit absolute relocations) nor -static-pie (the kernel chooses the address)
# does that.  The PIE flavours of the start files do, with a fixed text segment.  fixed_image_start.c gives the few
# symbols that libc.a and libstdc++.a refer to weakly, because a call to an undefined weak symbol cannot reach
# address 0 from up there.
set(HPCVMM_IMAGE_BASE 0x6a8000000000)
foreach(object Scrt1.o crti.o crtbeginS.o crtendS.o crtn.o)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=${object}
                  OUTPUT_VARIABLE HPCVMM_PATH_${object} OUTPUT_STRIP_TRAILING_WHITESPACE)
endforeach()

function(hpcvmm_fixed_image target)
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/fixed_image_start.c)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON LINK_DEPENDS
    ${PROJECT_SOURCE_DIR}/cmake/fixed_image.cmake)
  target_link_options(${target} PRIVATE
    -nostartfiles -static -no-pie
    -Wl,--no-relax,--eh-frame-hdr,--build-id,-z,noexecstack
    -Wl,-Ttext-segment=${HPCVMM_IMAGE_BASE}
    -Wl,-u,__call_tls_dtors,-u,__pthread_unwind,-u,__glibc_tls_internal_free
    ${HPCVMM_PATH_Scrt1.o} ${HPCVMM_PATH_crti.o} ${HPCVMM_PATH_crtbeginS.o})
  target_link_libraries(${target} PRIVATE ${HPCVMM_PATH_crtendS.o} ${HPCVMM_PATH_crtn.o})
endfunction()

# hpcvmm_start_together(TARGET): lays what runs at each start of a program (start_objects.txt) side by side, where the
# kernel's 64 KiB of fault-around find it.  Names that match nothing are passed over.
function(hpcvmm_start_together target)
  set(list ${PROJECT_SOURCE_DIR}/cmake/start_objects.txt)
  set(script ${CMAKE_CURRENT_BINARY_DIR}/start_objects.lds)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} objects REGEX "^[^#]")
  foreach(object ${objects})
    # CLI11's templates, each in a section of its own, stay out.
    string(APPEND text "    *${object}(.text .text.[a-z]* .text._ZNS* .text._ZNKS* .text._ZS* .text._Zn* .text._Zd* .text._Z*hpcvmm*)\n")
    string(APPEND rodata "    *${object}(.rodata .rodata.*)\n")
  endforeach()
  file(CONFIGURE OUTPUT ${script} @ONLY CONTENT
    "SECTIONS\n{\n  .text.start : {\n@text@  }\n}\nINSERT BEFORE .text;\nSECTIONS\n{\n  .rodata.start : {\n@rodata@  }\n}\nINSERT AFTER .rodata;\n")
  target_link_options(${target} PRIVATE -Wl,-T,${script})
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${script})
endfunction()

# hpcvmm_fixed_image_test(TARGET): the same for a GoogleTest executable.
function(hpcvmm_fixed_image_test target)
  hpcvmm_fixed_image(${target})
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/fixed_image_fork.c)
endfunction()
