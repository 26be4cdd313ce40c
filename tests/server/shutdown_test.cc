// Shutdown with calls and streams open.
#include <thread>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

class ShutdownTest : public RunningServerTest {};

TEST_F(ShutdownTest, StreamsAndWaitingWorkersAreToldAndItReturnsInTime) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok()) << made.status();
  const v1::TaskAssignment task = Take();
  v1::WatchJobRequest watch;
  watch.set_name(made->name());
  grpc::ClientContext watching;
  const auto reader = users_->WatchJob(&watching, watch);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(reader->Read(&event));
  absl::Status idle_status, busy_status;
  std::thread idle([&] {
    v1::SynchronizeRequest request = Idle("w2", "s2");
    request.mutable_long_poll()->set_seconds(20);
    idle_status = Synchronize(request).status();
  });
  std::thread busy([&] {
    v1::SynchronizeRequest request = Report(task, v1::TaskReport::RUNNING);
    request.mutable_long_poll()->set_seconds(20);
    busy_status = Synchronize(request).status();
  });
  // Both calls have reached the server once it knows the second worker.
  ASSERT_TRUE(Eventually([&] {
    const auto workers =
        User(&v1::QuantizationService::Stub::ListWorkers, v1::ListWorkersRequest());
    return workers.ok() && workers->workers_size() == 2;
  }));
  const absl::Time start = absl::Now();
  server_->Shutdown(absl::Seconds(10));
  EXPECT_LT(absl::Now() - start, absl::Seconds(9));
  idle.join();
  busy.join();
  EXPECT_FALSE(reader->Read(&event));
  const absl::Status watched = FromGrpc(reader->Finish());
  EXPECT_EQ(ReasonOf(watched), Reason::kShuttingDown) << watched;
  EXPECT_EQ(idle_status.code(), absl::StatusCode::kUnavailable) << idle_status;
  // The running task's call was answered, or told to come back.
  EXPECT_TRUE(busy_status.ok() || busy_status.code() == absl::StatusCode::kUnavailable)
      << busy_status;
}

TEST_F(ShutdownTest, AReaderThatDoesNotReadCostsTheGraceAndNoMore) {
  const auto made = Create(NewJob());
  const v1::TaskAssignment task = Take();
  ASSERT_TRUE(Finish(task, std::string(size_t{64} << 20, 'x'), nullptr).ok());
  v1::ReadArtifactFileRequest request;
  request.set_job(made->name());
  request.set_path("model.safetensors");
  grpc::ClientContext context;
  const auto reader = users_->ReadArtifactFile(&context, request);
  v1::ArtifactChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const absl::Time start = absl::Now();
  server_->Shutdown(absl::Milliseconds(300));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  context.TryCancel();
  while (reader->Read(&chunk)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(ShutdownTest, WhatWasAcknowledgedIsThereAfterARestart) {
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) names.push_back(Create(NewJob())->name());
  StartServer();
  for (const std::string& name : names) EXPECT_TRUE(Get(name).ok());
}

}  // namespace
}  // namespace quantd
