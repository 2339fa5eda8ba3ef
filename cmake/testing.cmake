# Kinds of test; each is one function, so that a label always means the same.
find_package(GTest REQUIRED)

# hpcvmm_unit_test(NAME SOURCES... [LINK libs...]): GoogleTest, runs anywhere, seconds.
function(hpcvmm_unit_test name)
  cmake_parse_arguments(A "" "" "LINK" ${ARGN})
  add_executable(${name} ${A_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE hpcvmm_options ${A_LINK} GTest::gtest_main GTest::gmock)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME unit.${name} COMMAND ${name})
  set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
