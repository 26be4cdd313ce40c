// What every store must do. Instantiate with a type that has `static StatusOr<unique_ptr<Store>>
// Open(folder)`; opening the same folder again must show what was committed.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "server/store/store.h"

namespace quantd {

template <typename Factory>
class StoreConformance : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("store");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = std::make_unique<TemporaryFolder>(*std::move(folder));
    Reopen();
  }
  void Reopen() {
    store_.reset();
    auto store = Factory::Open(folder_->path());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  static absl::Time At(int64_t second) { return absl::FromUnixSeconds(1'000'000 + second); }

  static Job NewJob(const std::string& id, int64_t second) {
    Job job;
    job.id = id;
    job.method = "rtn";
    job.model = "/models/a";
    job.spec = std::string("\0spec\xff", 6);
    job.plan = "plan";
    job.create_time = At(second);
    return job;
  }
  static Task NewTask(const Job& job) {
    Task task;
    task.id = job.id + "-1";
    task.job_id = job.id;
    task.queued_time = job.create_time;
    task.max_run_time = absl::Seconds(60);
    return task;
  }
  void Add(Job job, int priority = 0) {
    ASSERT_TRUE(store_
                    ->Write([&](StoreTransaction& store) -> absl::Status {
                      QD_RETURN_IF_ERROR(store.InsertJob(job, {.plan = "lists", .result = ""}));
                      Task task = NewTask(job);
                      task.priority = priority;
                      return store.InsertTask(task);
                    })
                    .ok());
  }
  Job Get(const std::string& id) {
    Job job;
    const absl::Status status = store_->Read([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(job, store.GetJob(id));
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return job;
  }
  std::vector<std::string> List(const JobQuery& query) {
    std::vector<std::string> ids;
    const absl::Status status = store_->Read([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(const JobPage page, store.ListJobs(query));
      for (const Job& job : page.jobs) ids.push_back(job.id);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return ids;
  }

  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Store> store_;
};

TYPED_TEST_SUITE_P(StoreConformance);

TYPED_TEST_P(StoreConformance, KeepsAJobAsItIsAcrossReopening) {
  Job job = this->NewJob("a", 1);
  job.labels = {{"team", "x\"'; DROP TABLE jobs"}, {"b", ""}};
  job.start_time = this->At(5);
  job.failure = FailureOf(MakeError(Reason::kDiskFull, "no", Violation{"w", "g", "n"}));
  this->Add(job);
  this->Reopen();
  const Job read = this->Get("a");
  EXPECT_EQ(read.labels, job.labels);
  EXPECT_EQ(read.spec, job.spec);
  EXPECT_EQ(read.create_time, job.create_time);
  EXPECT_EQ(read.start_time, job.start_time);
  EXPECT_EQ(read.end_time, std::nullopt);
  ASSERT_TRUE(read.failure.has_value());
  EXPECT_EQ(read.failure->reason, "DISK_FULL");
  ASSERT_EQ(read.failure->violations.size(), 1u);
  EXPECT_EQ(read.failure->violations[0].got, "g");
}

TYPED_TEST_P(StoreConformance, AFailedTransactionLeavesNothing) {
  const absl::Status status = this->store_->Write([&](StoreTransaction& store) -> absl::Status {
    Job job = this->NewJob("a", 1);
    QD_RETURN_IF_ERROR(store.InsertJob(job, {}));
    return MakeError(Reason::kInternal, "no");
  });
  EXPECT_EQ(ReasonOf(status), Reason::kInternal);
  EXPECT_TRUE(this->List({}).empty());
}

TYPED_TEST_P(StoreConformance, RefusesTheSameIdTwice) {
  this->Add(this->NewJob("a", 1));
  const absl::Status status = this->store_->Write([&](StoreTransaction& store) -> absl::Status {
    Job job = this->NewJob("a", 2);
    return store.InsertJob(job, {});
  });
  EXPECT_EQ(ReasonOf(status), Reason::kAlreadyExists);
  EXPECT_EQ(
      ReasonOf(this->store_->Read([](StoreReader& store) { return store.GetJob("b").status(); })),
      Reason::kJobNotFound);
}

TYPED_TEST_P(StoreConformance, PagesMeetEveryJobOnceInBothOrders) {
  for (int i = 0; i < 25; ++i) this->Add(this->NewJob(absl::StrCat("j", i), i / 3));
  for (const JobOrder order : {JobOrder::kOldestFirst, JobOrder::kNewestFirst}) {
    std::vector<std::string> met;
    JobQuery query{.order = order, .limit = 4};
    while (true) {
      JobPage page;
      ASSERT_TRUE(this->store_
                      ->Read([&](StoreReader& store) -> absl::Status {
                        QD_ASSIGN_OR_RETURN(page, store.ListJobs(query));
                        return absl::OkStatus();
                      })
                      .ok());
      for (const Job& job : page.jobs) met.push_back(job.id);
      if (!page.next.has_value()) break;
      query.after = page.next;
    }
    ASSERT_EQ(met.size(), 25u);
    EXPECT_EQ(met.front(), order == JobOrder::kOldestFirst ? "j0" : "j24");
    EXPECT_EQ(met.back(), order == JobOrder::kOldestFirst ? "j24" : "j0");
    std::sort(met.begin(), met.end());
    EXPECT_EQ(std::unique(met.begin(), met.end()), met.end());
  }
}

TYPED_TEST_P(StoreConformance, APageEndsAtItsBytesButHoldsAtLeastOneJob) {
  for (int i = 0; i < 3; ++i) {
    Job job = this->NewJob(absl::StrCat("j", i), i);
    job.spec = std::string(1000, 's');
    this->Add(job);
  }
  EXPECT_EQ(this->List({.limit = 10, .max_bytes = 2500}).size(), 2u);
  EXPECT_EQ(this->List({.limit = 10, .max_bytes = 10}).size(), 1u);
}

TYPED_TEST_P(StoreConformance, EveryConditionFilters) {
  using Field = JobCondition::Field;
  using Comparison = JobCondition::Comparison;
  Job a = this->NewJob("a", 1);
  a.labels = {{"team", "x"}};
  Job b = this->NewJob("b", 2);
  b.labels = {{"team", "y"}, {"x", "team"}};
  b.method = "int8";
  Job c = this->NewJob("c", 3);
  c.model = "/models/c";
  c.state = JobState::kFailed;
  for (const Job& job : {a, b, c}) this->Add(job);
  const auto list = [&](JobCondition condition) {
    return this->List({.conditions = {condition}, .order = JobOrder::kOldestFirst});
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(list({.field = Field::kState, .state = JobState::kFailed}), Ids{"c"});
  EXPECT_EQ(list({.field = Field::kState,
                  .comparison = Comparison::kNotEqual,
                  .state = JobState::kFailed}),
            (Ids{"a", "b"}));
  EXPECT_EQ(list({.field = Field::kMethod, .text = "int8"}), Ids{"b"});
  EXPECT_EQ(list({.field = Field::kModel, .text = "/models/c"}), Ids{"c"});
  EXPECT_EQ(list({.field = Field::kLabel, .key = "team", .text = "x"}), Ids{"a"});
  EXPECT_EQ(list({.field = Field::kLabel,
                  .comparison = Comparison::kNotEqual,
                  .key = "team",
                  .text = "x"}),
            (Ids{"b", "c"}));
  EXPECT_EQ(list({.field = Field::kCreateTime,
                  .comparison = Comparison::kGreaterOrEqual,
                  .time = this->At(2)}),
            (Ids{"b", "c"}));
  EXPECT_EQ(
      list({.field = Field::kCreateTime, .comparison = Comparison::kLess, .time = this->At(2)}),
      Ids{"a"});
  EXPECT_EQ(list({.field = Field::kModel, .text = "x' OR '1'='1"}), Ids{});
}

TYPED_TEST_P(StoreConformance, EventsAreNumberedWithoutGapsAndReadAfterASequence) {
  this->Add(this->NewJob("a", 1));
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(this->store_
                    ->Write([&](StoreTransaction& store) -> absl::Status {
                      QD_ASSIGN_OR_RETURN(Job job, store.GetJob("a"));
                      Event event;
                      event.kind = Event::Kind::kWarning;
                      event.body = absl::StrCat("e", i);
                      return store.AppendEvent(job, event);
                    })
                    .ok());
  }
  this->Reopen();
  const Job job = this->Get("a");
  EXPECT_EQ(job.last_sequence, 5);
  ASSERT_TRUE(this->store_
                  ->Read([&](StoreReader& store) -> absl::Status {
                    QD_ASSIGN_OR_RETURN(const auto events, store.ListEvents(job, 2, 2, 1 << 20));
                    EXPECT_EQ(events.size(), 2u);
                    EXPECT_EQ(events[0].sequence, 3);
                    EXPECT_EQ(events[1].body, "e3");
                    QD_ASSIGN_OR_RETURN(const auto bounded, store.ListEvents(job, 0, 10, 3));
                    EXPECT_EQ(bounded.size(), 2u);
                    return absl::OkStatus();
                  })
                  .ok());
}

TYPED_TEST_P(StoreConformance, PendingTasksComeByPriorityThenAge) {
  this->Add(this->NewJob("a", 1), 0);
  this->Add(this->NewJob("b", 2), 7);
  this->Add(this->NewJob("c", 3), 7);
  ASSERT_TRUE(this->store_
                  ->Write([&](StoreTransaction& store) -> absl::Status {
                    QD_ASSIGN_OR_RETURN(auto tasks,
                                        store.PendingTasks("any", kDefaultTenant, 0, 10));
                    EXPECT_EQ(tasks.size(), 3u);
                    EXPECT_EQ(tasks[0].job_id, "b");
                    EXPECT_EQ(tasks[1].job_id, "c");
                    EXPECT_EQ(tasks[2].job_id, "a");
                    tasks[0].state = TaskState::kLeased;
                    tasks[0].fencing_token = 9;
                    return store.UpdateTask(tasks[0]);
                  })
                  .ok());
  ASSERT_TRUE(this->store_
                  ->Read([&](StoreReader& store) -> absl::Status {
                    QD_ASSIGN_OR_RETURN(const auto tasks,
                                        store.PendingTasks("any", kDefaultTenant, 0, 10));
                    EXPECT_EQ(tasks.size(), 2u);
                    EXPECT_EQ(tasks[1].job_id, "a");
                    QD_ASSIGN_OR_RETURN(const auto leased, store.FindTaskOfJob("b"));
                    EXPECT_EQ(leased.value_or(Task{}).fencing_token, 9);
                    QD_ASSIGN_OR_RETURN(const int64_t pending, store.CountPendingTasks());
                    EXPECT_EQ(pending, 2);
                    return absl::OkStatus();
                  })
                  .ok());
}

TYPED_TEST_P(StoreConformance, PendingTasksAreThoseOfABackendThatFitTheMemory) {
  for (const auto& [id, backend, gigabytes] :
       {std::tuple("a", "cuda", 1), std::tuple("b", "cpu", 9), std::tuple("c", "cpu", 2)}) {
    Job job = this->NewJob(id, 1);
    ASSERT_TRUE(this->store_
                    ->Write([&, &backend = backend,
                             &gigabytes = gigabytes](StoreTransaction& store) -> absl::Status {
                      QD_RETURN_IF_ERROR(store.InsertJob(job, {}));
                      Task task = this->NewTask(job);
                      task.backend = backend;
                      task.memory_bytes = int64_t{gigabytes} << 30;
                      return store.InsertTask(task);
                    })
                    .ok());
  }
  const auto pending = [&](const char* backend, int64_t gigabytes) {
    std::string ids;
    EXPECT_TRUE(this->store_
                    ->Read([&](StoreReader& store) -> absl::Status {
                      ids.clear();
                      QD_ASSIGN_OR_RETURN(
                          const auto tasks,
                          store.PendingTasks(backend, kDefaultTenant, gigabytes << 30, 10));
                      for (const Task& task : tasks) ids += task.job_id;
                      return absl::OkStatus();
                    })
                    .ok());
    return ids;
  };
  EXPECT_EQ(pending("cpu", 9), "bc");
  EXPECT_EQ(pending("cpu", 8), "c");
  EXPECT_EQ(pending("cuda", 8), "a");
  EXPECT_EQ(pending("any", 8), "");
}

TYPED_TEST_P(StoreConformance, CountsFollowEveryChange) {
  const auto counts = [&] {
    std::pair<int64_t, int64_t> open_and_pending;
    EXPECT_TRUE(this->store_
                    ->Read([&](StoreReader& store) -> absl::Status {
                      QD_ASSIGN_OR_RETURN(open_and_pending.first, store.CountOpenJobs());
                      QD_ASSIGN_OR_RETURN(open_and_pending.second, store.CountPendingTasks());
                      return absl::OkStatus();
                    })
                    .ok());
    return open_and_pending;
  };
  using Counts = std::pair<int64_t, int64_t>;
  const auto change = [&](const char* id, JobState job_state, TaskState task_state) {
    EXPECT_TRUE(this->store_
                    ->Write([&](StoreTransaction& store) -> absl::Status {
                      QD_ASSIGN_OR_RETURN(Job job, store.GetJob(id));
                      job.state = job_state;
                      QD_RETURN_IF_ERROR(store.UpdateJob(job));
                      QD_ASSIGN_OR_RETURN(auto task, store.FindTaskOfJob(id));
                      task->state = task_state;
                      return store.UpdateTask(*task);
                    })
                    .ok());
  };
  for (const char* id : {"a", "b", "c"}) this->Add(this->NewJob(id, 1));
  EXPECT_EQ(counts(), Counts(3, 3));
  change("a", JobState::kRunning, TaskState::kLeased);
  EXPECT_EQ(counts(), Counts(3, 2));
  change("a", JobState::kPending, TaskState::kPending);
  EXPECT_EQ(counts(), Counts(3, 3));
  change("a", JobState::kFailed, TaskState::kDone);
  EXPECT_EQ(counts(), Counts(2, 2));
  EXPECT_TRUE(
      this->store_->Write([](StoreTransaction& store) { return store.DeleteJob("a"); }).ok());
  EXPECT_EQ(counts(), Counts(2, 2));
  // A removed job takes its waiting task along.
  EXPECT_TRUE(
      this->store_->Write([](StoreTransaction& store) { return store.DeleteJob("b"); }).ok());
  this->Reopen();
  EXPECT_EQ(counts(), Counts(1, 1));
}

TYPED_TEST_P(StoreConformance, LeasesWorkersAndSessions) {
  this->Add(this->NewJob("a", 1));
  ASSERT_TRUE(this->store_
                  ->Write([&](StoreTransaction& store) -> absl::Status {
                    QD_RETURN_IF_ERROR(store.PutLease({.task_id = "a-1",
                                                       .job_id = "a",
                                                       .worker = "w",
                                                       .session = "s",
                                                       .fencing_token = 3,
                                                       .expire_time = this->At(10)}));
                    Worker worker;
                    worker.name = "w";
                    worker.session = "s";
                    worker.backends = {"cpu", "cuda"};
                    worker.last_seen = this->At(3);
                    QD_RETURN_IF_ERROR(store.PutWorker(worker));
                    return store.EndSession("w", "old", this->At(2));
                  })
                  .ok());
  this->Reopen();
  ASSERT_TRUE(this->store_
                  ->Read([&](StoreReader& store) -> absl::Status {
                    QD_ASSIGN_OR_RETURN(const auto lease, store.FindLeaseOfWorker("w"));
                    EXPECT_EQ(lease.value_or(Lease{}).fencing_token, 3);
                    QD_ASSIGN_OR_RETURN(const auto none, store.ExpiredLeases(this->At(9), 10));
                    EXPECT_TRUE(none.empty());
                    QD_ASSIGN_OR_RETURN(const auto one, store.ExpiredLeases(this->At(10), 10));
                    EXPECT_EQ(one.size(), 1u);
                    QD_ASSIGN_OR_RETURN(const auto workers, store.ListWorkers(this->At(2)));
                    EXPECT_EQ(workers.size(), 1u);
                    EXPECT_EQ(workers[0].backends, (std::vector<std::string>{"cpu", "cuda"}));
                    QD_ASSIGN_OR_RETURN(const auto later, store.ListWorkers(this->At(3)));
                    EXPECT_TRUE(later.empty());
                    QD_ASSIGN_OR_RETURN(const bool old, store.HasSessionEnded("w", "old"));
                    EXPECT_TRUE(old);
                    QD_ASSIGN_OR_RETURN(const bool now, store.HasSessionEnded("w", "s"));
                    EXPECT_FALSE(now);
                    return absl::OkStatus();
                  })
                  .ok());
}

TYPED_TEST_P(StoreConformance, DeletingAJobTakesAllThatIsItsOwn) {
  this->Add(this->NewJob("a", 1));
  this->Add(this->NewJob("b", 2));
  ASSERT_TRUE(
      this->store_
          ->Write([&](StoreTransaction& store) -> absl::Status {
            QD_ASSIGN_OR_RETURN(Job job, store.GetJob("a"));
            QD_RETURN_IF_ERROR(store.AppendEvent(job, Event{}));
            QD_RETURN_IF_ERROR(store.PutArtifactFile(
                job, {.path = "f", .bytes = 1, .sha256 = "s", .blob = "jobs/a/1/f"}));
            QD_RETURN_IF_ERROR(
                store.InsertRequest({.request_id = "r", .job_id = "a", .body_sha256 = "d"}));
            QD_RETURN_IF_ERROR(store.PutLease({.task_id = "a-1", .job_id = "a", .worker = "w"}));
            return store.DeleteJob("a");
          })
          .ok());
  ASSERT_TRUE(this->store_
                  ->Read([&](StoreReader& store) -> absl::Status {
                    EXPECT_EQ(ReasonOf(store.GetJob("a").status()), Reason::kJobNotFound);
                    QD_ASSIGN_OR_RETURN(const auto request, store.FindRequest(kDefaultTenant, "r"));
                    EXPECT_FALSE(request.has_value());
                    QD_ASSIGN_OR_RETURN(const auto task, store.FindTask("a-1"));
                    EXPECT_FALSE(task.has_value());
                    QD_ASSIGN_OR_RETURN(const auto lease, store.FindLease("a-1"));
                    EXPECT_FALSE(lease.has_value());
                    return store.GetJob("b").status();
                  })
                  .ok());
}

TYPED_TEST_P(StoreConformance, FilesAreListedByPathAndReplaced) {
  this->Add(this->NewJob("a", 1));
  ASSERT_TRUE(this->store_
                  ->Write([&](StoreTransaction& store) -> absl::Status {
                    QD_ASSIGN_OR_RETURN(const Job job, store.GetJob("a"));
                    for (const char* path : {"b", "a", "c/d"}) {
                      QD_RETURN_IF_ERROR(store.PutArtifactFile(
                          job, {.path = path, .bytes = 1, .sha256 = "s", .blob = "x"}));
                    }
                    QD_RETURN_IF_ERROR(store.PutArtifactFile(
                        job, {.path = "a", .bytes = 2, .sha256 = "t", .blob = "y"}));
                    QD_ASSIGN_OR_RETURN(const auto files, store.ListArtifactFiles(job, "", 10));
                    EXPECT_EQ(files.size(), 3u);
                    EXPECT_EQ(files[0].bytes, 2);
                    QD_ASSIGN_OR_RETURN(const auto rest, store.ListArtifactFiles(job, "a", 1));
                    EXPECT_EQ(rest.size(), 1u);
                    EXPECT_EQ(rest[0].path, "b");
                    QD_RETURN_IF_ERROR(store.DeleteArtifactFiles(job));
                    EXPECT_EQ(ReasonOf(store.GetArtifactFile(job, "a").status()),
                              Reason::kArtifactNotFound);
                    return absl::OkStatus();
                  })
                  .ok());
}

TYPED_TEST_P(StoreConformance, ManyThreadsTakeEachTaskOnce) {
  constexpr int kJobs = 60;
  for (int i = 0; i < kJobs; ++i) this->Add(this->NewJob(absl::StrCat("j", i), i));
  std::vector<std::vector<std::string>> taken(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < taken.size(); ++t) {
    threads.emplace_back([&, t] {
      while (true) {
        std::string got;
        const absl::Status status =
            this->store_->Write([&](StoreTransaction& store) -> absl::Status {
              QD_ASSIGN_OR_RETURN(auto tasks, store.PendingTasks("any", kDefaultTenant, 0, 1));
              if (tasks.empty()) return absl::OkStatus();
              tasks[0].state = TaskState::kLeased;
              got = tasks[0].id;
              return store.UpdateTask(tasks[0]);
            });
        EXPECT_TRUE(status.ok()) << status;
        if (got.empty()) return;
        taken[t].push_back(got);
        // Readers at the same time see a whole number of tasks.
        EXPECT_TRUE(this->store_
                        ->Read([&](StoreReader& store) -> absl::Status {
                          QD_ASSIGN_OR_RETURN(const int64_t pending, store.CountPendingTasks());
                          QD_ASSIGN_OR_RETURN(const auto tasks,
                                              store.PendingTasks("any", kDefaultTenant, 0, 1000));
                          EXPECT_EQ(static_cast<size_t>(pending), tasks.size());
                          return absl::OkStatus();
                        })
                        .ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> all;
  for (const auto& part : taken) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all.size(), static_cast<size_t>(kJobs));
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

REGISTER_TYPED_TEST_SUITE_P(StoreConformance, KeepsAJobAsItIsAcrossReopening,
                            AFailedTransactionLeavesNothing, RefusesTheSameIdTwice,
                            PagesMeetEveryJobOnceInBothOrders,
                            APageEndsAtItsBytesButHoldsAtLeastOneJob, EveryConditionFilters,
                            EventsAreNumberedWithoutGapsAndReadAfterASequence,
                            PendingTasksComeByPriorityThenAge,
                            PendingTasksAreThoseOfABackendThatFitTheMemory, CountsFollowEveryChange,
                            LeasesWorkersAndSessions, DeletingAJobTakesAllThatIsItsOwn,
                            FilesAreListedByPathAndReplaced, ManyThreadsTakeEachTaskOnce);

}  // namespace quantd
