# Every third-party library, found once. Packages and versions: docs/dependencies.md.
find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(Eigen3 CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)

# Debian's dnnl-config.cmake insists on OpenCL headers that the CPU engine does not use; the plain library is enough.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(dnnl_cpu INTERFACE)
target_include_directories(dnnl_cpu SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(dnnl_cpu INTERFACE ${DNNL_LIBRARY})

# Debian's RE2 has no CMake file.
find_path(RE2_INCLUDE_DIR re2/re2.h REQUIRED)
find_library(RE2_LIBRARY re2 REQUIRED)
add_library(re2_regex INTERFACE)
target_include_directories(re2_regex SYSTEM INTERFACE ${RE2_INCLUDE_DIR})
target_link_libraries(re2_regex INTERFACE ${RE2_LIBRARY})

if(QUANTD_SERVICE)
  # Debian's protobuf has no config file; gRPC's config needs the module's targets first.
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
  find_package(SQLite3 REQUIRED)
  find_package(PostgreSQL REQUIRED)  # libpq
  find_package(pugixml CONFIG REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(CURL REQUIRED)
endif()
if(QUANTD_TESTS)
  find_package(GTest CONFIG REQUIRED)
  include(GoogleTest)
endif()
if(QUANTD_BENCH)
  find_package(benchmark CONFIG REQUIRED)
endif()
