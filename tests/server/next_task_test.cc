// What a worker gets next, and what it costs to find that out when very many tasks wait that it
// could not run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "server/lifecycle.h"
#include "server/store/sqlite_store.h"

namespace quantd {
namespace {

class NextTaskTest : public testing::Test {
 protected:
  void Add(int jobs, const std::string& backend, int64_t memory_bytes = 1, int priority = 0,
           const std::string& tenant = kDefaultTenant) {
    const absl::Status added = store_->Write([&](StoreTransaction& store) -> absl::Status {
      for (int i = 0; i < jobs; ++i) {
        Job job;
        job.id = absl::StrCat("j", number_++);
        Task task;
        task.id = job.id + "-1";
        task.job_id = job.id;
        task.backend = backend;
        task.memory_bytes = memory_bytes;
        task.priority = priority;
        task.tenant = tenant;
        QD_RETURN_IF_ERROR(store.InsertJob(job, {}));
        QD_RETURN_IF_ERROR(store.InsertTask(task));
      }
      return absl::OkStatus();
    });
    ASSERT_TRUE(added.ok()) << added;
  }
  std::string Next(const std::vector<std::string>& backends, int64_t free_memory_bytes = 1000) {
    Worker worker;
    worker.backends = backends;
    worker.free_memory_bytes = free_memory_bytes;
    const auto task =
        ReadResult(*store_, [&](StoreReader& store) { return NextTask(store, worker, Limits{}); });
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() && task->has_value() ? (*task)->job_id : "nothing";
  }
  // Median of a claim that finds something.
  double Microseconds(const std::string& expected) {
    std::vector<double> times;
    for (int i = 0; i < 51; ++i) {
      const absl::Time start = absl::Now();
      EXPECT_EQ(Next({"cpu"}), expected);
      times.push_back(absl::ToDoubleMicroseconds(absl::Now() - start));
    }
    std::nth_element(times.begin(), times.begin() + 25, times.end());
    return times[25];
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("next-task");
  std::unique_ptr<Store> store_ = *OpenSqliteStore({.path = folder_.path() + "/quantd.db"});
  int number_ = 0;
};

TEST_F(NextTaskTest, TheHighestPriorityOfEveryBackendThatItHas) {
  Add(1, "cpu", 1, 1);
  Add(1, "any", 1, 2);
  Add(1, "cuda", 1, 3);
  Add(1, "cpu", 5000, 4);
  EXPECT_EQ(Next({"cpu"}), "j1");
  EXPECT_EQ(Next({"cpu", "cuda"}), "j2");
  EXPECT_EQ(Next({"cpu"}, 5000), "j3");
  EXPECT_EQ(Next({"cpu"}, 0), "nothing");
  EXPECT_EQ(Next({}), "nothing");
}

TEST_F(NextTaskTest, JobsForABackendThatNobodyHasDoNotStarveTheOthers) {
  Add(1, "cpu");
  const double alone = Microseconds("j0");
  Add(20'000, "cuda", 1, 9);
  const double crowded = Microseconds("j0");
  std::printf("claim behind 20,000 tasks of another backend: %.0f us, alone %.0f us, ratio %.2f\n",
              crowded, alone, crowded / alone);
  EXPECT_LT(crowded / alone, 5);
  Add(20'000, "cpu", 1'000'000, 9);
  const double large = Microseconds("j0");
  std::printf("and behind 20,000 that need more memory: %.0f us, ratio %.2f\n", large,
              large / alone);
  EXPECT_LT(large, 50'000);
}

TEST_F(NextTaskTest, AQueueOfOneTenantDoesNotDelayAnother) {
  Add(1, "cpu", 1, 0, "alone");
  const double alone = Microseconds("j0");
  Add(20'000, "cpu", 1, 9, "flood");
  EXPECT_EQ(Next({"cpu"}), "j0") << "both run nothing, and it came first";
  const double crowded = Microseconds("j0");
  std::printf("claim beside 20,000 tasks of another tenant: %.0f us, ratio %.2f\n", crowded,
              crowded / alone);
  EXPECT_LT(crowded / alone, 5);
}

}  // namespace
}  // namespace quantd
