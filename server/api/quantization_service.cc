#include "server/api/quantization_service.h"

#include "absl/strings/str_cat.h"
#include "server/api/calls.h"
#include "server/api/create_job.h"
#include "server/api/jobs.h"
#include "server/api/read_artifact.h"
#include "server/api/watch_job.h"

namespace quantd {
namespace {

absl::Status NotBuiltYet(std::string_view method) {
  return MakeError(Reason::kUnimplemented, absl::StrCat(ToAbsl(method), " is not built yet"));
}

// Ends a client's stream at once.
class RefusedUpload final : public grpc::ServerReadReactor<v1::WriteFileRequest> {
 public:
  explicit RefusedUpload(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

// One line per rpc that answers once: run `function` on the executor.
#define QD_UNARY(Name, Request, Response, executor, function)                              \
  grpc::ServerUnaryReactor* QuantizationService::Name(                                     \
      Context* context, const v1::Request* request, Response* response) {                  \
    return RunUnary(                                                                       \
        api_, executor, context, #Name, request, response,                                 \
        [this](const v1::Request& in, Response* out) { return function(api_, in, out); }); \
  }

QD_UNARY(GetCapabilities, GetCapabilitiesRequest, v1::Capabilities, api_.executor,
         quantd::GetCapabilities)
QD_UNARY(CreateJob, CreateJobRequest, v1::Job, api_.planner, quantd::CreateJob)
QD_UNARY(GetJob, GetJobRequest, v1::Job, api_.executor, quantd::GetJob)
QD_UNARY(ListJobs, ListJobsRequest, v1::ListJobsResponse, api_.executor, quantd::ListJobs)
QD_UNARY(CancelJob, CancelJobRequest, v1::Job, api_.executor, quantd::CancelJob)
QD_UNARY(DeleteJob, DeleteJobRequest, Empty, api_.executor, quantd::DeleteJob)
QD_UNARY(ListArtifactFiles, ListArtifactFilesRequest, v1::ListArtifactFilesResponse, api_.executor,
         quantd::ListArtifactFiles)
QD_UNARY(ListWorkers, ListWorkersRequest, v1::ListWorkersResponse, api_.executor,
         quantd::ListWorkers)
#undef QD_UNARY

grpc::ServerWriteReactor<v1::JobEvent>* QuantizationService::WatchJob(
    Context* /*context*/, const v1::WatchJobRequest* request) {
  return quantd::WatchJob(api_, *request);
}

grpc::ServerWriteReactor<v1::ArtifactChunk>* QuantizationService::ReadArtifactFile(
    Context* /*context*/, const v1::ReadArtifactFileRequest* request) {
  return quantd::ReadArtifactFile(api_, *request);
}

grpc::ServerUnaryReactor* QuantizationService::NotBuilt(Context* context, std::string_view method) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(CallTimer(api_.metrics, method).End(NotBuiltYet(method)));
  return reactor;
}

#define QD_NOT_BUILT(Name, Request, Response)                                               \
  grpc::ServerUnaryReactor* QuantizationService::Name(Context* context, const v1::Request*, \
                                                      Response*) {                          \
    return NotBuilt(context, #Name);                                                        \
  }

QD_NOT_BUILT(DrainWorker, DrainWorkerRequest, v1::Worker)
QD_NOT_BUILT(CreateModel, CreateModelRequest, v1::Model)
QD_NOT_BUILT(QueryWrite, QueryWriteRequest, v1::QueryWriteResponse)
QD_NOT_BUILT(CommitModel, CommitModelRequest, v1::Model)
QD_NOT_BUILT(ListModels, ListModelsRequest, v1::ListModelsResponse)
QD_NOT_BUILT(DeleteModel, DeleteModelRequest, Empty)
QD_NOT_BUILT(CreateDataset, CreateDatasetRequest, v1::Dataset)
QD_NOT_BUILT(CommitDataset, CommitDatasetRequest, v1::Dataset)
QD_NOT_BUILT(ListDatasets, ListDatasetsRequest, v1::ListDatasetsResponse)
QD_NOT_BUILT(DeleteDataset, DeleteDatasetRequest, Empty)
#undef QD_NOT_BUILT

grpc::ServerReadReactor<v1::WriteFileRequest>* QuantizationService::WriteModelFile(
    Context* /*context*/, v1::WriteFileResponse* /*response*/) {
  return new RefusedUpload(
      CallTimer(api_.metrics, "WriteModelFile").End(NotBuiltYet("WriteModelFile")));
}

grpc::ServerReadReactor<v1::WriteFileRequest>* QuantizationService::WriteDatasetFile(
    Context* /*context*/, v1::WriteFileResponse* /*response*/) {
  return new RefusedUpload(
      CallTimer(api_.metrics, "WriteDatasetFile").End(NotBuiltYet("WriteDatasetFile")));
}

}  // namespace quantd
