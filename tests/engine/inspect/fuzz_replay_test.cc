#include "gtest/gtest.h"
#include "tests/fuzz/mutations.h"
#include "tests/fuzz/quantization_config_target.h"
#include "tests/fuzz/request_target.h"

namespace quantd {
namespace {

TEST(FuzzReplayTest, QuantizationConfig) {
  ReplaySeeds("quantization_config", 1000, FuzzQuantizationConfig);
}
TEST(FuzzReplayTest, Request) { ReplaySeeds("request", 1000, FuzzRequest); }

}  // namespace
}  // namespace quantd
