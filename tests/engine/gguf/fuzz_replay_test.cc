#include "gtest/gtest.h"
#include "tests/fuzz/gguf_target.h"
#include "tests/fuzz/mutations.h"

namespace quantd {
namespace {

TEST(FuzzReplayTest, Gguf) { ReplaySeeds("gguf", 2000, FuzzGguf); }

}  // namespace
}  // namespace quantd
