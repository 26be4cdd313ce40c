#include "worker/agent/leased_task.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

#include "absl/synchronization/notification.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/convert.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using testing::HasSubstr;

TEST(LeasedTaskTest, WhatIsThrownInItIsAFailedAttempt) {
  const auto folder = TemporaryFolder::Create("task").value();
  QuantizeRequest request;
  request.model_folder = SourcePath("models/books-3m");
  v1::TaskAssignment assignment;
  assignment.set_task("tasks/t1");
  *assignment.mutable_spec() = ToProto(request);
  std::atomic<int> wakes{0};
  absl::Notification ended;
  const auto task = LeasedTask::Start(
      assignment, "file://" + folder.path() + "/blobs",
      {.program = BuiltPath("bin/quantd-worker"), .scratch_folder = folder.path()}, [&] {
        const int before = wakes++;
        if (before == 0) throw std::runtime_error("no room");
        if (before == 1) ended.Notify();
      });
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(60)));
  const v1::TaskReport report = task->Report(/*max_events=*/100);
  EXPECT_EQ(report.state(), v1::TaskReport::FAILED);
  EXPECT_EQ(report.error().reason(), "INTERNAL");
  EXPECT_THAT(report.error().message(), HasSubstr("no room"));
}

}  // namespace
}  // namespace quantd
