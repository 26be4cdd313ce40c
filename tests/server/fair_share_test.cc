#include "server/scheduler/fair_share.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace quantd {
namespace {

Task Waiting(int64_t order, int priority, std::string backend, int64_t memory_bytes) {
  Task task;
  task.order = order;
  task.priority = priority;
  task.backend = std::move(backend);
  task.memory_bytes = memory_bytes;
  return task;
}

Worker CpuWorker(int64_t free_memory_bytes) {
  Worker worker;
  worker.backends = {"cpu"};
  worker.free_memory_bytes = free_memory_bytes;
  return worker;
}

TEST(PickTest, HighestPriorityThenFirstCome) {
  const Task tasks[] = {Waiting(1, 0, "any", 0), Waiting(2, 5, "any", 0), Waiting(3, 5, "any", 0),
                        Waiting(4, -5, "any", 0)};
  EXPECT_EQ(PickTask(tasks, {}, CpuWorker(0), Limits{}), 1u);
}

TEST(PickTest, PassesOverWhatDoesNotFit) {
  const Task tasks[] = {Waiting(1, 9, "cuda", 0), Waiting(2, 8, "cpu", 1001),
                        Waiting(3, 0, "cpu", 1000)};
  EXPECT_EQ(PickTask(tasks, {}, CpuWorker(1000), Limits{}), 2u);
  EXPECT_EQ(PickTask(tasks, {}, CpuWorker(999), Limits{}), std::nullopt);
}

TEST(PickTest, GivesNothingToAWorkerThatIsLeaving) {
  Worker worker = CpuWorker(1000);
  worker.draining = true;
  const Task tasks[] = {Waiting(1, 0, "any", 0)};
  EXPECT_EQ(PickTask(tasks, {}, worker, Limits{}), std::nullopt);
  worker.draining = false;
  worker.backends.clear();
  EXPECT_EQ(PickTask(tasks, {}, worker, Limits{}), std::nullopt);
}

TEST(PickTest, NeverGivesATaskThatIsLeased) {
  Task task = Waiting(1, 0, "any", 0);
  task.state = TaskState::kLeased;
  EXPECT_EQ(PickTask(std::span(&task, 1), {}, CpuWorker(10), Limits{}), std::nullopt);
}

Task Of(std::string tenant, int64_t order, int priority = 0) {
  Task task = Waiting(order, priority, "any", 0);
  task.tenant = std::move(tenant);
  return task;
}

TEST(FairShareTest, WhoRunsLeastComesFirstAndPriorityStaysAtHome) {
  const Task tasks[] = {Of("a", 1, 1000), Of("b", 2, 0), Of("b", 3, 5)};
  EXPECT_EQ(PickTask(tasks, {{"a", 1}}, CpuWorker(0), Limits{}), 2u);
  EXPECT_EQ(PickTask(tasks, {{"a", 1}, {"b", 2}}, CpuWorker(0), Limits{}), 0u);
}

TEST(FairShareTest, AmongEqualsWhoCameFirst) {
  const Task tasks[] = {Of("b", 2), Of("a", 3), Of("c", 1, -9)};
  EXPECT_EQ(PickTask(tasks, {}, CpuWorker(0), Limits{}), 2u);
  // The one that a tenant would run next counts, not its oldest.
  const Task favoured[] = {Of("b", 2), Of("a", 1), Of("a", 3, 9)};
  EXPECT_EQ(PickTask(favoured, {}, CpuWorker(0), Limits{}), 0u);
}

TEST(FairShareTest, ATenantWithoutATaskThatFitsHoldsNobodyUp) {
  std::vector<Task> tasks = {Of("a", 1), Of("b", 2)};
  tasks[0].memory_bytes = 100;
  EXPECT_EQ(PickTask(tasks, {{"b", 7}}, CpuWorker(10), Limits{}), 1u);
}

TEST(FairShareTest, NoMoreThanItsQuota) {
  const Task tasks[] = {Of("a", 1), Of("b", 2)};
  const Limits limits{.tenant_running = 2};
  EXPECT_EQ(PickTask(tasks, {{"a", 2}, {"b", 1}}, CpuWorker(0), limits), 1u);
  EXPECT_EQ(PickTask(tasks, {{"a", 2}, {"b", 2}}, CpuWorker(0), limits), std::nullopt);
}

// One tenant sends a thousand jobs at once, the other one each time a worker is free: each has half
// of the workers.
TEST(FairShareTest, AFloodOfOneTenantLeavesTheOtherItsHalf) {
  std::vector<Task> queue;
  for (int64_t i = 0; i < 1000; ++i) queue.push_back(Of("flood", i, 9));
  queue.push_back(Of("drop", 5000));
  RunningTasks running;
  for (int free = 0; free < 100; ++free) {
    const auto picked = PickTask(queue, running, CpuWorker(0), Limits{});
    ASSERT_TRUE(picked.has_value());
    ++running[queue[*picked].tenant];
    if (queue[*picked].tenant == "flood")
      queue.erase(queue.begin() + static_cast<int64_t>(*picked));
  }
  EXPECT_EQ(running["drop"], 50);
  EXPECT_EQ(running["flood"], 50);
}

}  // namespace
}  // namespace quantd
