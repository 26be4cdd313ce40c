// The seeds of the fuzzer and seeded damage to them: no fuzzer is needed to run these.
#include "gtest/gtest.h"
#include "tests/fuzz/mutations.h"
#include "tests/fuzz/targets.h"

namespace quantd {
namespace {

TEST(FuzzReplayTest, TokenizerJsonSurvivesDamage) {
  ReplaySeeds("tokenizer_json", 1500, FuzzTokenizerJson);
}

}  // namespace
}  // namespace quantd
