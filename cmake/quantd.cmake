# How this project declares libraries, programs and tests: one static library per folder, named after the folder.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(QUANTD_CCACHE ccache)
if(QUANTD_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${QUANTD_CCACHE})
endif()
find_program(QUANTD_MOLD mold)
if(QUANTD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(quantd_options INTERFACE)
target_include_directories(quantd_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(quantd_options INTERFACE -Wall -Wextra -Wconversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Names as clang 17 wrote them: Debian's absl, built by GCC 12, has those. No a * b + c in one
  # rounding, which GCC does not do either where the standard is asked for.
  add_compile_options(-fclang-abi-compat=17 -ffp-contract=off)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR QUANTD_SANITIZE)
  # At -O3, and where a sanitizer splits its flow, GCC 12 takes the standard library's own moves,
  # inlined, for uninitialized reads, and its string concatenation for overlapping copies (GCC bug
  # 105651; its manual warns of the same for -fsanitize).
  target_compile_options(quantd_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
endif()
if(QUANTD_SANITIZE)
  # What else it warns of there ends no build; in the others every warning does.
  target_compile_options(quantd_options INTERFACE -Wno-error)
endif()
target_compile_definitions(quantd_options INTERFACE QUANTD_VERSION="${PROJECT_VERSION}")
if(QUANTD_SANITIZE)
  add_compile_options(-fsanitize=${QUANTD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${QUANTD_SANITIZE})
endif()
if(QUANTD_PRECOMPILE)
  # Two thirds of a test's compile time is reading headers; one set for libraries, one for tests,
  # which are position-independent in another way.
  add_library(precompiled_library OBJECT ${CMAKE_SOURCE_DIR}/cmake/precompiled/nothing.cc)
  target_link_libraries(precompiled_library PRIVATE quantd_options)
  target_precompile_headers(precompiled_library PRIVATE <cmake/precompiled/library_headers.h>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Of a precompiled header GCC 12 forgets that it is the system's, and warns of what it inlines.
    target_compile_options(quantd_options INTERFACE -Wno-array-bounds -Wno-stringop-overflow
                           -Wno-stringop-overread -Wno-maybe-uninitialized -Wno-restrict)
  endif()
endif()
if(QUANTD_SANITIZE MATCHES thread)
  set(QUANTD_PROGRAM_SOURCES ${CMAKE_SOURCE_DIR}/cmake/tsan_libraries.cc)
endif()

# precompiled(engine_tensor precompiled_library): what reads gRPC's headers is compiled with -pthread,
# and reads more than these.
function(precompiled name headers)
  if(QUANTD_PRECOMPILE AND NOT CMAKE_CURRENT_SOURCE_DIR MATCHES "/(proto|server|client|worker)(/|$)")
    target_precompile_headers(${name} REUSE_FROM ${headers})
  endif()
endfunction()

# quantd_library(engine_tensor DEPS base nlohmann_json::nlohmann_json)
# Compiles every .cc file of the current folder into one static library.
function(quantd_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;EXCLUDE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(file ${ARG_EXCLUDE})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC quantd_options ${ARG_DEPS})
    precompiled(${name} precompiled_library)
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE quantd_options ${ARG_DEPS})
  endif()
endfunction()

# quantd_program(quantd SOURCES main.cc DEPS server)
function(quantd_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES} ${QUANTD_PROGRAM_SOURCES})
  target_link_libraries(${name} PRIVATE quantd_options ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# quantd_test(engine_tensor_test DEPS engine_tensor [LABELS unit])
# Compiles every *_test.cc of the current folder into one GoogleTest program; ctest sees each case by name.
function(quantd_test name)
  cmake_parse_arguments(ARG "" "" "DEPS;LABELS;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  endif()
  if(NOT ARG_SOURCES)
    return()
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_SOURCES} ${QUANTD_PROGRAM_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} quantd_options GTest::gtest GTest::gmock GTest::gtest_main)
  precompiled(${name} precompiled_tests)
  # Relative, for tests/paths.h.
  file(RELATIVE_PATH binaries ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  target_compile_definitions(${name} PRIVATE QUANTD_BINARY_DIR="${binaries}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  gtest_discover_tests(${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} DISCOVERY_TIMEOUT 60
    DISCOVERY_MODE PRE_TEST PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300)
endfunction()
