// How long a job takes to be added to the store, and to be claimed from it, in an empty queue and
// behind many jobs; SQLite, and PostgreSQL with its writes on the disk.
//
//   queue_bench [JOBS]     default 100000
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "server/lifecycle.h"
#include "server/store/postgres_store.h"
#include "server/store/sqlite_store.h"
#include "tests/server/postgres_server.h"

namespace quantd {
namespace {

constexpr int kMeasured = 1000;

void Die(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "queue_bench: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

Job JobNumber(int number, absl::Time now) {
  Job job;
  job.id = absl::StrCat("job", number);
  job.method = "awq";
  job.model = "/models/a";
  job.spec = std::string(500, 's');
  job.plan = std::string(500, 'p');
  job.create_time = now;
  return job;
}

absl::Status Add(StoreTransaction& store, int number, absl::Time now) {
  Job job = JobNumber(number, now);
  Task task;
  task.id = job.id + "-1";
  task.job_id = job.id;
  task.queued_time = now;
  task.max_run_time = absl::Hours(1);
  AfterCommit after;
  return AddJob(store, job, {.plan = std::string(5000, 'l'), .result = ""}, task, {}, after);
}

absl::Status Claim(StoreTransaction& store, int number, absl::Time now) {
  Worker worker;
  worker.name = absl::StrCat("w", number);
  worker.session = "s";
  worker.backends = {"cpu"};
  worker.free_memory_bytes = int64_t{1} << 40;
  QD_ASSIGN_OR_RETURN(std::optional<Task> task, NextTask(store, worker, Limits{}));
  if (!task.has_value()) return MakeError(Reason::kInternal, "nothing to claim");
  AfterCommit after;
  return GiveLease(store, *task, worker, Limits{}, now, after).status();
}

// Seconds of each of many transactions: their number per second, and the 99th percentile.
void Measure(Store& store, const std::string& what,
             const std::function<absl::Status(StoreTransaction&, int)>& work) {
  std::vector<double> seconds;
  for (int i = 0; i < kMeasured; ++i) {
    const absl::Time start = absl::Now();
    Die(store.Write([&](StoreTransaction& transaction) { return work(transaction, i); }));
    seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
  }
  double total = 0;
  for (const double one : seconds) total += one;
  std::sort(seconds.begin(), seconds.end());
  std::printf("| %s | %.0f | %.2f | %.2f |\n", what.c_str(), kMeasured / total,
              1e3 * seconds[kMeasured / 2], 1e3 * seconds[kMeasured * 99 / 100]);
  std::fflush(stdout);
}

void MeasureQueue(const std::string& name, Store& store, int queued) {
  int next = 0;
  const absl::Time now = absl::Now();
  while (next < queued) {
    Die(store.Write([&](StoreTransaction& transaction) -> absl::Status {
      for (int i = 0; i < 1000 && next < queued; ++i) {
        QD_RETURN_IF_ERROR(Add(transaction, next++, now));
      }
      return absl::OkStatus();
    }));
  }
  const std::string behind = queued == 0 ? ", empty" : absl::StrCat(", behind ", queued);
  Measure(store, name + " create" + behind,
          [&](StoreTransaction& transaction, int i) { return Add(transaction, next + i, now); });
  Measure(store, name + " claim" + behind,
          [&](StoreTransaction& transaction, int i) { return Claim(transaction, i, now); });
}

int Main(int argc, char** argv) {
  const int jobs = argc > 1 ? std::atoi(argv[1]) : 100'000;
  std::printf("| | per second | median ms | 99th percentile ms |\n|---|---|---|---|\n");
  for (const int queued : {0, jobs}) {
    const auto folder = TemporaryFolder::Create("queue");
    Die(folder.status());
    const auto sqlite = OpenSqliteStore({.path = folder->path() + "/quantd.db"});
    Die(sqlite.status());
    MeasureQueue("SQLite", **sqlite, queued);
    PostgresServer* server = PostgresServer::Get<PostgresServer::Sync::kOn>();
    if (server == nullptr) continue;
    const auto postgres = OpenPostgresStore({.uri = server->NewDatabase()});
    Die(postgres.status());
    MeasureQueue("PostgreSQL", **postgres, queued);
  }
  return 0;
}

}  // namespace
}  // namespace quantd

int main(int argc, char** argv) { return quantd::Main(argc, argv); }
