#include "gtest/gtest.h"
#include "tests/fuzz/config_target.h"
#include "tests/fuzz/mutations.h"

namespace quantd {
namespace {

TEST(FuzzReplayTest, Config) { ReplaySeeds("config", 500, FuzzConfig); }

}  // namespace
}  // namespace quantd
