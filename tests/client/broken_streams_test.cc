// Streams that break at random points give the same events and bytes as streams that do not.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "client/download.h"
#include "client/watch.h"
#include "tests/client/scripted_server.h"

namespace quantd {
namespace {

// Short waits: what is tested is what is sent, not how long it takes.
constexpr RetryOptions kQuick = {.first_wait = absl::Milliseconds(1),
                                 .longest_wait = absl::Milliseconds(4),
                                 .patience = absl::Seconds(20)};

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

class BrokenStreams : public testing::TestWithParam<uint64_t> {
 protected:
  BrokenStreams() : server_(GetParam()) {
    server_.job.set_name("jobs/a");
    server_.break_one_in = 5;
  }
  void SetUp() override {
    auto folder = TemporaryFolder::Create("quantctl-test");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_.emplace(*std::move(folder));
  }

  ScriptedServer server_;
  Cancellation cancellation_;
  std::optional<TemporaryFolder> folder_;
};

TEST_P(BrokenStreams, WatchLosesAndRepeatsNothing) {
  server_.AddState(v1::Job::RUNNING);
  for (int i = 0; i < 300; ++i) server_.AddEvent().mutable_warning()->set_text(std::to_string(i));
  server_.AddState(v1::Job::SUCCEEDED);
  Connection connection({.server = server_.address()}, cancellation_);
  std::vector<std::string> seen;
  int told = 0;
  WatchOptions options = {.job = "jobs/a", .retry = kQuick};
  options.on_break = [&](const absl::Status&) { ++told; };
  const absl::Status status = WatchJob(connection, options, [&](const v1::JobEvent& event) {
    seen.push_back(event.SerializeAsString());
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
  std::vector<std::string> sent;
  for (const v1::JobEvent& event : server_.events) sent.push_back(event.SerializeAsString());
  EXPECT_EQ(seen, sent);
  EXPECT_GT(server_.breaks(), 10);
  EXPECT_EQ(told, server_.watches() - 1);
}

TEST_P(BrokenStreams, DownloadGivesTheSameBytes) {
  server_.AddFile("shards/model.safetensors", RandomBytes(123'457, GetParam()));
  server_.AddFile("empty", "");
  Connection connection({.server = server_.address()}, cancellation_);
  for (const ScriptedServer::File& file : server_.files) {
    const DownloadOptions options = {
        .job = "jobs/a", .file = file.listed, .folder = folder_->path(), .retry = kQuick};
    const auto outcome = DownloadFile(connection, options);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(*outcome, DownloadOutcome::kFetched);
    const auto bytes = ReadFile(folder_->path() + "/" + file.listed.path(), 1 << 20);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, file.bytes);
  }
  EXPECT_GT(server_.breaks(), 5);
  // The second time nothing is asked for.
  const int reads = server_.reads();
  for (const ScriptedServer::File& file : server_.files) {
    const DownloadOptions options = {
        .job = "jobs/a", .file = file.listed, .folder = folder_->path(), .retry = kQuick};
    const auto outcome = DownloadFile(connection, options);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(*outcome, DownloadOutcome::kAlreadyThere);
  }
  EXPECT_EQ(server_.reads(), reads);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BrokenStreams, testing::Range<uint64_t>(1, 9));

class Download : public BrokenStreams {
 protected:
  Download() { server_.break_one_in = 0; }
};
INSTANTIATE_TEST_SUITE_P(Seed, Download, testing::Values(1));

TEST_P(Download, AFileThatIsNotItsDigestIsRefusedAndLeavesNothing) {
  server_.AddFile("model.safetensors", RandomBytes(5000, 1));
  server_.files[0].bytes[4321] ^= 1;  // the chunk's own checksum is right, the file's digest is not
  Connection connection({.server = server_.address()}, cancellation_);
  const auto outcome = DownloadFile(connection, {.job = "jobs/a",
                                                 .file = server_.files[0].listed,
                                                 .folder = folder_->path(),
                                                 .retry = kQuick});
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kDataLoss) << outcome.status();
  EXPECT_TRUE(std::filesystem::is_empty(folder_->path()));
}

TEST_P(Download, APathThatLeavesTheFolderIsRefusedBeforeAnythingIsAsked) {
  Connection connection({.server = server_.address()}, cancellation_);
  for (const std::string path : {"../a", "/etc/passwd", "a//b", "a/../../b", "", ".", "a\nb"}) {
    v1::ArtifactFile file;
    file.set_path(path);
    const auto outcome = DownloadFile(
        connection,
        {.job = "jobs/a", .file = file, .folder = folder_->path() + "/inside", .retry = kQuick});
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(server_.reads(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_->path()));
}

TEST_P(Download, AServerThatStaysAwayIsGivenUp) {
  server_.AddFile("a", "bytes");
  Connection connection({.server = server_.address(),
                         .unary_retry = {.first_wait = absl::Milliseconds(1),
                                         .longest_wait = absl::Milliseconds(2),
                                         .patience = absl::Milliseconds(20)}},
                        cancellation_);
  server_.Stop();
  EXPECT_EQ(connection.GetJob("jobs/a").status().code(), absl::StatusCode::kUnavailable);
  const auto outcome = DownloadFile(connection, {.job = "jobs/a",
                                                 .file = server_.files[0].listed,
                                                 .folder = folder_->path(),
                                                 .retry = {.first_wait = absl::Milliseconds(1),
                                                           .patience = absl::Milliseconds(20)}});
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::is_empty(folder_->path()));
}

TEST_P(Download, CancellationEndsAWatchThatWaits) {
  server_.AddState(v1::Job::RUNNING);
  server_.hold_watch = true;
  Connection connection({.server = server_.address()}, cancellation_);
  const absl::Status status =
      WatchJob(connection, {.job = "jobs/a", .retry = kQuick}, [&](const v1::JobEvent&) {
        cancellation_.Cancel();
        return absl::OkStatus();
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_EQ(server_.watches(), 1);
}

}  // namespace
}  // namespace quantd
