// WatchJob and ReadArtifactFile: complete and in order, whenever the client breaks off and comes
// back.
#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

class StreamsApiTest : public RunningServerTest {
 protected:
  // Reads events after `sequence`, at most `limit`, then breaks off. The status is that of the call
  // if it ended.
  absl::Status Watch(const std::string& name, int64_t sequence, size_t limit,
                     std::vector<v1::JobEvent>* events) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_after_sequence(sequence);
    const auto reader = users_->WatchJob(&context, request);
    v1::JobEvent event;
    size_t read = 0;
    while (read < limit && reader->Read(&event)) {
      events->push_back(event);
      ++read;
    }
    if (read == limit) context.TryCancel();
    return FromGrpc(reader->Finish());
  }

  absl::Status Read(const std::string& job, const std::string& path, int64_t offset, int64_t limit,
                    std::string* bytes, size_t chunks = SIZE_MAX) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ReadArtifactFileRequest request;
    request.set_job(job);
    request.set_path(path);
    request.set_offset(offset);
    request.set_limit(limit);
    const auto reader = users_->ReadArtifactFile(&context, request);
    v1::ArtifactChunk chunk;
    size_t read = 0;
    while (read < chunks && reader->Read(&chunk)) {
      EXPECT_EQ(chunk.offset(), offset + static_cast<int64_t>(bytes->size()));
      EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.data()));
      EXPECT_LE(chunk.data().size(), size_t{1} << 20);
      EXPECT_EQ(chunk.has_file(), read == 0);
      bytes->append(chunk.data());
      ++read;
    }
    if (read == chunks) context.TryCancel();
    return FromGrpc(reader->Finish());
  }

  // Runs one job to its end with `layers` layer events, in several reports.
  void RunJob(int layers) {
    const v1::TaskAssignment task = Take();
    int64_t number = 0;
    while (number < layers) {
      v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
      for (int i = 0; i < 17 && number < layers; ++i) {
        ++number;
        AddEvent(report, number)->mutable_layer()->set_module(absl::StrCat("layer-", number));
      }
      ASSERT_TRUE(Synchronize(report).ok());
    }
    v1::SynchronizeRequest done = Report(task, v1::TaskReport::SUCCEEDED);
    done.mutable_task()->mutable_result()->mutable_gate()->set_passed(true);
    ASSERT_TRUE(Synchronize(done).ok());
  }
};

TEST_F(StreamsApiTest, AWatcherFollowsFromTheBeginningToTheEnd) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok()) << made.status();
  std::vector<v1::JobEvent> events;
  absl::Status ended;
  std::thread watcher([&] { ended = Watch(made->name(), 0, SIZE_MAX, &events); });
  RunJob(200);
  watcher.join();
  EXPECT_TRUE(ended.ok()) << ended;
  // PENDING, RUNNING, 200 layers, the result, SUCCEEDED.
  ASSERT_EQ(events.size(), 204u);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].sequence(), static_cast<int64_t>(i) + 1);
  }
  EXPECT_EQ(events[0].state_change().state(), v1::Job::PENDING);
  EXPECT_EQ(events[1].state_change().state(), v1::Job::RUNNING);
  EXPECT_EQ(events[2].layer().module(), "layer-1");
  EXPECT_TRUE(events[202].has_result());
  EXPECT_EQ(events[203].state_change().state(), v1::Job::SUCCEEDED);
}

TEST_F(StreamsApiTest, ReconnectingLosesAndRepeatsNothing) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok());
  std::vector<v1::JobEvent> events;
  std::thread watcher([&] {
    std::mt19937 random(7);
    while (events.empty() || events.back().state_change().state() != v1::Job::SUCCEEDED) {
      const int64_t last = events.empty() ? 0 : events.back().sequence();
      const absl::Status status = Watch(made->name(), last, 1 + random() % 30, &events);
      if (!status.ok()) {
        EXPECT_EQ(ReasonOf(status), Reason::kCancelled) << status;
      }
    }
  });
  RunJob(150);
  watcher.join();
  ASSERT_EQ(events.size(), 154u);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].sequence(), static_cast<int64_t>(i) + 1);
  }
}

TEST_F(StreamsApiTest, WatchingAFinalJobReplaysAndEnds) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(Cancel(made->name()).ok());
  std::vector<v1::JobEvent> events;
  EXPECT_TRUE(Watch(made->name(), 0, SIZE_MAX, &events).ok());
  EXPECT_EQ(events.size(), 2u);
  events.clear();
  EXPECT_TRUE(Watch(made->name(), 2, SIZE_MAX, &events).ok());
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(ReasonOf(Watch(made->name(), 3, 1, &events)), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Watch(made->name(), -1, 1, &events)), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Watch("jobs/none", 0, 1, &events)), Reason::kJobNotFound);
}

TEST_F(StreamsApiTest, DeletingAJobEndsItsWatchers) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(Cancel(made->name()).ok());
  ASSERT_TRUE(Delete(made->name()).ok());
  std::vector<v1::JobEvent> events;
  EXPECT_EQ(ReasonOf(Watch(made->name(), 0, 1, &events)), Reason::kJobNotFound);
}

TEST_F(StreamsApiTest, FilesAreReadWholeInPartsAndWhileTheJobRuns) {
  const auto made = Create(NewJob());
  const v1::TaskAssignment task = Take();
  std::string bytes;
  std::mt19937 random(3);
  while (bytes.size() < (size_t{3} << 20) + 17) bytes.push_back(static_cast<char>(random()));
  v1::SynchronizeRequest report = Report(task, v1::TaskReport::RUNNING);
  *AddEvent(report, 1)->mutable_file_sealed() = Seal(task, "model.safetensors", bytes);
  *AddEvent(report, 2)->mutable_file_sealed() = Seal(task, "quantd/empty", "");
  ASSERT_TRUE(Synchronize(report).ok());
  v1::ListArtifactFilesRequest list;
  list.set_job(made->name());
  list.set_page_size(1);
  auto page = User(&v1::QuantizationService::Stub::ListArtifactFiles, list);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->files(0).sha256(), Sha256Hex(bytes));
  EXPECT_FALSE(page->complete());
  list.set_page_token(page->next_page_token());
  page = User(&v1::QuantizationService::Stub::ListArtifactFiles, list);
  EXPECT_EQ(page->files(0).path(), "quantd/empty");
  EXPECT_TRUE(page->next_page_token().empty());

  std::string whole, part, empty, none;
  EXPECT_TRUE(Read(made->name(), "model.safetensors", 0, 0, &whole).ok());
  EXPECT_EQ(Sha256Hex(whole), Sha256Hex(bytes));
  EXPECT_TRUE(Read(made->name(), "model.safetensors", 1000, 2'000'000, &part).ok());
  EXPECT_TRUE(part == bytes.substr(1000, 2'000'000));
  EXPECT_TRUE(Read(made->name(), "quantd/empty", 0, 0, &empty).ok());
  EXPECT_TRUE(empty.empty());
  const auto size = static_cast<int64_t>(bytes.size());
  EXPECT_TRUE(Read(made->name(), "model.safetensors", size, 0, &none).ok());
  EXPECT_EQ(ReasonOf(Read(made->name(), "model.safetensors", size + 1, 0, &none)),
            Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Read(made->name(), "../quantd.db", 0, 0, &none)), Reason::kArtifactNotFound);
  EXPECT_THAT(server_->MetricsPage(), testing::HasSubstr("quantd_artifact_bytes_served_total"));
}

TEST_F(StreamsApiTest, ABrokenDownloadGoesOnWhereItStopped) {
  const auto made = Create(NewJob());
  const v1::TaskAssignment task = Take();
  std::string bytes((size_t{5} << 20) + 3, 'x');
  for (size_t i = 0; i < bytes.size(); i += 997) bytes[i] = static_cast<char>(i % 251);
  ASSERT_TRUE(Finish(task, bytes, nullptr).ok());
  std::string got;
  while (got.size() < bytes.size()) {
    std::string part;
    Read(made->name(), "model.safetensors", static_cast<int64_t>(got.size()), 0, &part, 2)
        .IgnoreError();
    ASSERT_FALSE(part.empty());
    got += part;
  }
  EXPECT_TRUE(got == bytes);
}

TEST_F(StreamsApiTest, ManyClientsAtOnceGetWhatIsTheirs) {
  const auto read = Create(NewJob());
  std::string bytes((size_t{1} << 20) + 3, 'x');
  for (size_t i = 0; i < bytes.size(); i += 997) bytes[i] = static_cast<char>(i % 251);
  ASSERT_TRUE(Finish(Take(), bytes, nullptr).ok());
  const auto watched = Create(NewJob());

  // Each breaks off and comes back now and then, between jobs of its own.
  const auto client = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<v1::JobEvent> events;
    bool ended = false;
    while (!ended) {
      const size_t limit = 1 + random() % 20;
      const int64_t sequence = events.empty() ? 0 : events.back().sequence();
      ended = Watch(watched->name(), sequence, limit, &events).ok();
      std::string part;
      const auto offset = static_cast<int64_t>(random() % bytes.size());
      EXPECT_TRUE(Read(read->name(), "model.safetensors", offset, 5000, &part).ok());
      EXPECT_EQ(part, bytes.substr(static_cast<size_t>(offset), 5000));
      const auto own = Create(NewJob());
      EXPECT_TRUE(own.ok() && Cancel(own->name()).ok() && Delete(own->name()).ok());
    }
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i].sequence(), static_cast<int64_t>(i) + 1);
    }
    EXPECT_GT(events.size(), 100U);
  };
  std::vector<std::thread> clients;
  for (unsigned seed = 0; seed < 6; ++seed) clients.emplace_back(client, seed);
  RunJob(100);
  for (std::thread& thread : clients) thread.join();
}

TEST_F(StreamsApiTest, TooManyStreamsAreRefused) {
  options_.limits.streams = 1;
  StartServer();
  const auto made = Create(NewJob());
  grpc::ClientContext context;
  v1::WatchJobRequest request;
  request.set_name(made->name());
  const auto reader = users_->WatchJob(&context, request);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  std::vector<v1::JobEvent> events;
  EXPECT_EQ(ReasonOf(Watch(made->name(), 0, 1, &events)), Reason::kQuotaExceeded);
  context.TryCancel();
  reader->Finish();
  EXPECT_TRUE(Eventually([&] {
    events.clear();
    Watch(made->name(), 0, 1, &events).IgnoreError();
    return events.size() == 1;
  }));
}

}  // namespace
}  // namespace quantd
