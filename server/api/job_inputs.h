// The uploads that a job names: what planning reads of them, and what its workers are told.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "engine/tensor/model_files.h"
#include "engine/types/request.h"
#include "quantd/v1/job.pb.h"
#include "quantd/v1/worker_service.pb.h"
#include "server/api/context.h"

namespace quantd {

// The names of uploads in a spec, each once.
std::vector<std::string> UploadsNamedBy(const v1::JobSpec& spec);

// What planning reads. Datasets lie in a folder that goes with this.
struct PlanInputs {
  std::shared_ptr<const ModelFiles> model;  // null: the request's model_folder
  std::optional<TemporaryFolder> datasets;
  std::vector<Upload> uploads;  // all of them
};

// Opens the uploads that `spec` names, as `request`, which is made of it, shall find them.
// UPLOAD_NOT_FOUND, by the field, for one that the tenant does not have; WRONG_STATE for one that
// is not complete.
absl::StatusOr<PlanInputs> OpenPlanInputs(const ApiContext& api, const std::string& tenant,
                                          const v1::JobSpec& spec, QuantizeRequest& request);

// In the transaction that adds the job: its uploads are still there, and stay as long as it is
// open.
absl::Status HoldInputs(StoreTransaction& store, const Job& job, const v1::JobSpec& spec);

// Every upload that `spec` names, with the blobs of its files.
absl::Status TellInputs(StoreReader& store, const std::string& tenant, const v1::JobSpec& spec,
                        v1::TaskAssignment& assignment);

}  // namespace quantd
