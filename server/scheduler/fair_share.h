// Whose task a worker gets. Tenants share the workers by the tasks that run at the moment; priority
// orders the jobs of one tenant, and says nothing to the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "server/job.h"
#include "server/limits.h"

namespace quantd {

// Tasks that run, by tenant.
using RunningTasks = std::map<std::string, int64_t>;

// Whether the tenant may have one more running.
bool MayRunMore(const std::string& tenant, const RunningTasks& running, const Limits& limits);

// Index of the task that the worker gets, out of the pending ones: of the tenant with the fewest
// running tasks, among equals of the one who came first; of that tenant's, the highest priority,
// then first come. Passed over are tasks that do not fit and tenants that may have no more running.
// Nothing: none is left.
std::optional<size_t> PickTask(std::span<const Task> pending, const RunningTasks& running,
                               const Worker& worker, const Limits& limits);

}  // namespace quantd
