// One suite for every backend that works here: what holds for the CPU holds for each of them.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/str_replace.h"
#include "engine/backend/backend.h"
#include "gtest/gtest.h"

namespace quantd {

// A fixture derived from this is run once per backend, after QD_EVERY_BACKEND(Fixture).
class EveryBackend : public testing::TestWithParam<std::string_view> {
 protected:
  static Backend& backend() { return **FindBackend(GetParam()); }
};

// A test's name may hold letters, digits and "_" only.
inline std::string BackendTestName(const testing::TestParamInfo<std::string_view>& info) {
  return absl::StrReplaceAll(std::string(info.param), {{"-", "_"}});
}

#define QD_EVERY_BACKEND(Fixture)                                                     \
  INSTANTIATE_TEST_SUITE_P(Backends, Fixture, testing::ValuesIn(AvailableBackends()), \
                           BackendTestName)

}  // namespace quantd
