// Identical requests share a job: which are identical, who shares, and what keeps them apart.
#include <gmock/gmock.h>

#include <filesystem>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

class ResultCacheApiTest : public RunningServerTest {
 protected:
  void SetUp() override {
    options_.result_cache = true;
    RunningServerTest::SetUp();
    // A copy of the bundled model that a test may change.
    model_ = folder_->path() + "/model";
    std::filesystem::copy(ModelFolder(), model_, std::filesystem::copy_options::recursive);
    options_.model_roots.push_back(*RealPath(folder_->path()));
    options_.result_cache = true;
    StartServer();
  }
  v1::CreateJobRequest Asked() const {
    v1::CreateJobRequest request = NewJob();
    request.mutable_job()->mutable_spec()->mutable_model()->set_path(model_);
    return request;
  }
  std::string NameOf(const v1::CreateJobRequest& request, bool reused) {
    const auto made = Create(request);
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return "";
    EXPECT_EQ(made->reused(), reused);
    return made->name();
  }

  std::string model_;
};

TEST_F(ResultCacheApiTest, JoinsAnOpenJobAndTakesTheResultOfADoneOne) {
  const std::string first = NameOf(Asked(), false);
  EXPECT_EQ(NameOf(Asked(), true), first) << "while it waits";
  const v1::TaskAssignment task = Take();
  EXPECT_EQ(NameOf(Asked(), true), first) << "while it runs";
  ASSERT_TRUE(Finish(task, "weights", nullptr).ok());
  const auto done = Create(Asked());
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->name(), first);
  EXPECT_EQ(done->state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(done->result().files(0).path(), "model.safetensors");
  EXPECT_FALSE(Get(first)->reused()) << "told in the answer of CreateJob alone";
}

TEST_F(ResultCacheApiTest, LabelsAndLimitsMakeNoDifference) {
  const std::string first = NameOf(Asked(), false);
  v1::CreateJobRequest other = Asked();
  (*other.mutable_job()->mutable_labels())["run"] = "2";
  v1::Resources* resources = other.mutable_job()->mutable_spec()->mutable_resources();
  resources->set_priority(5);
  resources->set_threads(1);
  resources->mutable_max_run_time()->set_seconds(1000);
  EXPECT_EQ(NameOf(other, true), first);
}

TEST_F(ResultCacheApiTest, WhatDecidesTheResultMakesADifference) {
  NameOf(Asked(), false);
  v1::CreateJobRequest other = Asked();
  other.mutable_job()->mutable_spec()->mutable_recipe()->mutable_default_scheme()->set_bits(3);
  NameOf(other, false);
  other = Asked();
  other.mutable_job()->mutable_spec()->mutable_output()->set_format("dequantized");
  NameOf(other, false);
  other = Asked();
  other.set_no_cache(true);
  NameOf(other, false);
}

TEST_F(ResultCacheApiTest, AModelThatChangedIsAnotherModel) {
  NameOf(Asked(), false);
  ASSERT_TRUE(WriteFileAtomic(model_ + "/generation_config.json", R"({"top_k": 3})").ok());
  NameOf(Asked(), false);
  // The weights again, byte for byte: nobody can know that without reading them.
  std::filesystem::last_write_time(
      model_ + "/model.safetensors",
      std::filesystem::last_write_time(model_ + "/model.safetensors") + std::chrono::seconds(1));
  const auto size = std::filesystem::file_size(model_ + "/model.safetensors");
  NameOf(Asked(), size <= (32 << 20));  // small enough to be read whole
}

TEST_F(ResultCacheApiTest, AJobThatFailedOrWasCancelledIsNotShared) {
  const std::string first = NameOf(Asked(), false);
  ASSERT_TRUE(Cancel(first).ok());
  const std::string second = NameOf(Asked(), false);
  EXPECT_NE(second, first);
  ASSERT_TRUE(Cancel(second).ok());
  ASSERT_TRUE(Delete(second).ok());
  NameOf(Asked(), false);
}

TEST_F(ResultCacheApiTest, ARequestIdStandsForTheJobThatAnsweredIt) {
  const std::string first = NameOf(Asked(), false);
  v1::CreateJobRequest again = Asked();
  again.set_request_id("3f2a1b4c-0000-4000-8000-000000000001");
  EXPECT_EQ(NameOf(again, true), first);
  const auto retried = Create(again);
  ASSERT_TRUE(retried.ok()) << retried.status();
  EXPECT_EQ(retried->name(), first);
}

TEST_F(ResultCacheApiTest, CanBeSwitchedOff) {
  options_.result_cache = false;
  StartServer();
  const std::string first = NameOf(Asked(), false);
  EXPECT_NE(NameOf(Asked(), false), first);
}

}  // namespace
}  // namespace quantd
