// What every store must do for retries, progress and fair shares. Instantiated as
// store_conformance.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/server/store_conformance.h"

namespace quantd {

template <typename Factory>
class StoreTasksConformance : public StoreConformance<Factory> {
 protected:
  // Reads with `work`, which must go well.
  void Reads(const std::function<absl::Status(StoreReader&)>& work) {
    const absl::Status status = this->store_->Read(work);
    EXPECT_TRUE(status.ok()) << status;
  }
  void Writes(const std::function<absl::Status(StoreTransaction&)>& work) {
    const absl::Status status = this->store_->Write(work);
    EXPECT_TRUE(status.ok()) << status;
  }
  void AddOf(const std::string& tenant, const std::string& id, int64_t second) {
    Writes([&](StoreTransaction& store) -> absl::Status {
      Job job = this->NewJob(id, second);
      QD_RETURN_IF_ERROR(store.InsertJob(job, {}));
      Task task = this->NewTask(job);
      task.tenant = tenant;
      return store.InsertTask(task);
    });
  }
  void Change(const std::string& id, const std::function<void(Task&)>& change) {
    Writes([&](StoreTransaction& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(auto task, store.FindTaskOfJob(id));
      change(*task);
      return store.UpdateTask(*task);
    });
  }
};

TYPED_TEST_SUITE_P(StoreTasksConformance);

TYPED_TEST_P(StoreTasksConformance, ATaskKeepsWhatItsAttemptsLeft) {
  this->AddOf("red", "a", 1);
  this->Change("a", [&](Task& task) {
    task.failures = 2;
    task.sealed_parts = 7;
    task.not_before = this->At(9);
    task.failed_attempts = {{.where = "attempt 1 on w", .got = "IO_ERROR: \"x\"", .wanted = ""}};
  });
  this->Reopen();
  this->Reads([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const auto task, store.FindTaskOfJob("a"));
    EXPECT_EQ(task->tenant, "red");
    EXPECT_EQ(task->failures, 2);
    EXPECT_EQ(task->sealed_parts, 7);
    EXPECT_EQ(task->not_before, this->At(9));
    EXPECT_EQ(task->stall_limit, absl::Hours(1));
    EXPECT_EQ(task->failed_attempts.size(), 1u);
    EXPECT_EQ(task->failed_attempts[0].got, "IO_ERROR: \"x\"");
    return absl::OkStatus();
  });
}

TYPED_TEST_P(StoreTasksConformance, DelayedTasksAreNotPendingUntilTheyAreDue) {
  for (const char* id : {"a", "b", "c"}) this->AddOf("red", id, 1);
  for (const auto& [id, second] : std::map<std::string, int64_t>{{"a", 20}, {"b", 10}}) {
    this->Change(id, [&, second = second](Task& task) {
      task.state = TaskState::kDelayed;
      task.not_before = this->At(second);
    });
  }
  this->Reads([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const auto pending, store.PendingTasks("any", "red", 0, 10));
    EXPECT_EQ(pending.size(), 1u);
    QD_ASSIGN_OR_RETURN(const int64_t count, store.CountPendingTasks());
    EXPECT_EQ(count, 1);
    QD_ASSIGN_OR_RETURN(const auto none, store.DueTasks(this->At(9), 10));
    EXPECT_TRUE(none.empty());
    QD_ASSIGN_OR_RETURN(const auto due, store.DueTasks(this->At(20), 10));
    EXPECT_EQ(due.size(), 2u);
    EXPECT_EQ(due[0].job_id, "b");
    return absl::OkStatus();
  });
}

TYPED_TEST_P(StoreTasksConformance, TenantsAreToldApart) {
  this->AddOf("red", "a", 1);
  this->AddOf("blue", "b", 2);
  this->AddOf("red", "c", 3);
  this->Change("a", [](Task& task) { task.state = TaskState::kLeased; });
  const auto expect = [&](std::vector<std::string> tenants, std::map<std::string, int64_t> running,
                          int64_t red, int64_t blue) {
    this->Reads([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(const auto waiting, store.PendingTenants("any"));
      EXPECT_EQ(waiting, tenants);
      QD_ASSIGN_OR_RETURN(const auto leased, store.CountRunningTasks());
      EXPECT_EQ(leased, running);
      QD_ASSIGN_OR_RETURN(const int64_t of_red, store.CountPendingTasksOf("red"));
      EXPECT_EQ(of_red, red);
      QD_ASSIGN_OR_RETURN(const int64_t of_blue, store.CountPendingTasksOf("blue"));
      EXPECT_EQ(of_blue, blue);
      QD_ASSIGN_OR_RETURN(const int64_t of_nobody, store.CountPendingTasksOf("green"));
      EXPECT_EQ(of_nobody, 0);
      QD_ASSIGN_OR_RETURN(const auto other, store.PendingTenants("cuda"));
      EXPECT_TRUE(other.empty());
      return absl::OkStatus();
    });
  };
  expect({"blue", "red"}, {{"red", 1}}, 1, 1);
  this->Change("a", [](Task& task) { task.state = TaskState::kPending; });
  expect({"blue", "red"}, {}, 2, 1);
  this->Writes([](StoreTransaction& store) { return store.DeleteJob("b"); });
  expect({"red"}, {}, 2, 0);
}

TYPED_TEST_P(StoreTasksConformance, LeasesTellWhenTheyAreStuck) {
  this->AddOf("red", "a", 1);
  this->Writes([&](StoreTransaction& store) {
    return store.PutLease({.task_id = "a-1",
                           .job_id = "a",
                           .worker = "w",
                           .session = "s",
                           .expire_time = this->At(100),
                           .sealed_parts = 4,
                           .stuck_time = this->At(50)});
  });
  this->Reads([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const auto none, store.StuckLeases(this->At(49), 10));
    EXPECT_TRUE(none.empty());
    QD_ASSIGN_OR_RETURN(const auto stuck, store.StuckLeases(this->At(50), 10));
    EXPECT_EQ(stuck.size(), 1u);
    EXPECT_EQ(stuck[0].sealed_parts, 4);
    EXPECT_EQ(stuck[0].stuck_time, this->At(50));
    return absl::OkStatus();
  });
}

TYPED_TEST_P(StoreTasksConformance, JobsThatEndedAreFoundByTheirAge) {
  for (const char* id : {"a", "b", "c"}) this->AddOf("red", id, 1);
  for (const auto& [id, second] : std::map<std::string, int64_t>{{"a", 20}, {"b", 10}}) {
    this->Writes([&, id = id, second = second](StoreTransaction& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(Job job, store.GetJob(id));
      job.state = JobState::kFailed;
      job.end_time = this->At(second);
      return store.UpdateJob(job);
    });
  }
  this->Reads([&](StoreReader& store) -> absl::Status {
    using Ids = std::vector<std::string>;
    for (const auto& [second, limit, wanted] :
         {std::tuple(9, 10, Ids{}), std::tuple(10, 10, Ids{"b"}), std::tuple(20, 10, Ids{"b", "a"}),
          std::tuple(20, 1, Ids{"b"})}) {
      QD_ASSIGN_OR_RETURN(const auto ids, store.JobsEndedBy(this->At(second), limit));
      EXPECT_EQ(ids, wanted) << second;
    }
    QD_ASSIGN_OR_RETURN(const auto ever, store.JobsEndedBy(absl::InfinitePast(), 10));
    EXPECT_TRUE(ever.empty());
    return absl::OkStatus();
  });
}

REGISTER_TYPED_TEST_SUITE_P(StoreTasksConformance, ATaskKeepsWhatItsAttemptsLeft,
                            DelayedTasksAreNotPendingUntilTheyAreDue, TenantsAreToldApart,
                            LeasesTellWhenTheyAreStuck, JobsThatEndedAreFoundByTheirAge);

}  // namespace quantd
