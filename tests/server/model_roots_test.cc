// What lies outside of the allowed folders is read neither when a job is made nor when it runs.
#include <filesystem>

#include "engine/plan/plan.h"
#include "proto/convert.h"
#include "tests/paths.h"
#include "tests/server/running_server.h"

namespace quantd {
namespace {

class ModelRootsTest : public RunningServerTest {
 protected:
  void SetUp() override {
    RunningServerTest::SetUp();
    root_ = *RealPath(folder_->path());
    options_.model_roots.push_back(root_);
    StartServer();
  }
  std::string root_;
};

TEST_F(ModelRootsTest, AModelWithALinkOutOfTheRootsIsRefused) {
  const std::string model = root_ + "/model";
  std::filesystem::copy(ModelFolder(), model);
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_model()->set_path(model);
  ASSERT_TRUE(Create(request).ok());
  std::filesystem::create_symlink("/etc/hostname", model + "/LICENSE.txt");
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kModelOutsideRoots);
}

// The worker opens what lies there when it runs, and nothing else than what was checked.
TEST_F(ModelRootsTest, ATextThatBecomesALinkAfterwardsIsNotReadByTheWorker) {
  const std::string text = root_ + "/text";
  std::filesystem::copy(ModelFolder() + "/evaluation.txt", text);
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_evaluation()->set_disabled(false);
  request.mutable_job()->mutable_spec()->mutable_evaluation()->mutable_dataset()->set_path(text);
  ASSERT_TRUE(Create(request).ok());
  const v1::TaskAssignment task = Take();
  auto asked = FromProto(task.spec());
  ASSERT_TRUE(asked.ok()) << asked.status();
  asked->model_roots.assign(task.model_roots().begin(), task.model_roots().end());
  ASSERT_TRUE(MakePlan(*asked).ok());
  std::filesystem::remove(text);
  std::filesystem::create_symlink(SourcePath("README.md"), text);
  EXPECT_EQ(ReasonOf(MakePlan(*asked).status()), Reason::kModelOutsideRoots);
}

}  // namespace
}  // namespace quantd
