// The seeds of the fuzzer and seeded damage to them: no fuzzer is needed to run these.
#include "gtest/gtest.h"
#include "tests/fuzz/mutations.h"
#include "tests/fuzz/targets.h"

namespace quantd {
namespace {

TEST(FuzzReplayTest, SafetensorsHeaderSurvivesDamage) {
  ReplaySeeds("safetensors_header", 20000, FuzzSafetensorsHeader);
}

}  // namespace
}  // namespace quantd
