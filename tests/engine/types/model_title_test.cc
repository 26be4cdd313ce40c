#include "engine/types/model_title.h"

#include "gtest/gtest.h"

namespace quantd {
namespace {

TEST(ModelTitleTest, IsTheLastPartOfThePath) {
  EXPECT_EQ(ModelTitle("/models/Llama-3.2-1B"), "Llama-3.2-1B");
  EXPECT_EQ(ModelTitle("/models/Llama-3.2-1B/"), "Llama-3.2-1B");
  EXPECT_EQ(ModelTitle("tiny"), "tiny");
  EXPECT_EQ(ModelTitle("/models/Llama-3.2-1B.gguf"), "Llama-3.2-1B");
  EXPECT_EQ(ModelTitle("/"), "");
}

TEST(ModelTitleTest, OfASnapshotIsTheRepository) {
  EXPECT_EQ(ModelTitle("/cache/hub/models--meta-llama--Llama-3.2-1B/snapshots/4e20de3"),
            "Llama-3.2-1B");
  EXPECT_EQ(ModelTitle("/cache/hub/models--gpt2/snapshots/4e20de3/"), "gpt2");
  EXPECT_EQ(ModelTitle("/my/snapshots/4e20de3"), "4e20de3");
}

}  // namespace
}  // namespace quantd
