// Where the large test data lies that is not part of the repository: golden vectors, tokenizers,
// texts, small models.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {

// The folder, or "" when it is not there.
inline std::string SharedDataFolder() {
  const char* named = std::getenv("QUANTD_SHARED_DATA");
  const std::string folder =
      named != nullptr && *named != '\0' ? named : SourcePath("../shared/data");
  return std::filesystem::is_directory(folder) ? folder : "";
}

}  // namespace quantd

// Sets `variable` to the folder. Without it a test is skipped on a person's machine and fails in
// CI: nothing passes because something is missing.
#define QD_SHARED_DATA_OR_SKIP(variable)                                                        \
  const std::string variable = quantd::SharedDataFolder();                                      \
  if (variable.empty()) {                                                                       \
    if (std::getenv("CI") != nullptr) FAIL() << "test data is missing: set QUANTD_SHARED_DATA"; \
    GTEST_SKIP() << "test data is missing: set QUANTD_SHARED_DATA";                             \
  }
