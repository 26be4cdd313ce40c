#include "server/scheduler/fair_share.h"

#include "server/scheduler/rules.h"

namespace quantd {
namespace {

int64_t RunningOf(const std::string& tenant, const RunningTasks& running) {
  const auto found = running.find(tenant);
  return found == running.end() ? 0 : found->second;
}

// Whether `task` goes before `best`.
bool Before(const Task& task, const Task& best, const RunningTasks& running) {
  if (task.tenant == best.tenant) {
    return task.priority != best.priority ? task.priority > best.priority : task.order < best.order;
  }
  const int64_t of_task = RunningOf(task.tenant, running);
  const int64_t of_best = RunningOf(best.tenant, running);
  return of_task != of_best ? of_task < of_best : task.order < best.order;
}

}  // namespace

bool MayRunMore(const std::string& tenant, const RunningTasks& running, const Limits& limits) {
  return RunningOf(tenant, running) < limits.tenant_running;
}

std::optional<size_t> PickTask(std::span<const Task> pending, const RunningTasks& running,
                               const Worker& worker, const Limits& limits) {
  // First the best of each tenant, then the best of those: between tenants priority means nothing,
  // so that order is not one of all tasks.
  std::map<std::string, size_t> firsts;
  for (size_t i = 0; i < pending.size(); ++i) {
    const Task& task = pending[i];
    if (task.state != TaskState::kPending || !Fits(task, worker)) continue;
    if (!MayRunMore(task.tenant, running, limits)) continue;
    const auto [first, is_new] = firsts.try_emplace(task.tenant, i);
    if (!is_new && Before(task, pending[first->second], running)) first->second = i;
  }
  std::optional<size_t> best;
  for (const auto& [tenant, first] : firsts) {
    if (!best.has_value() || Before(pending[first], pending[*best], running)) best = first;
  }
  return best;
}

}  // namespace quantd
