#include "server/api/quantization_service.h"

#include "server/api/calls.h"
#include "server/api/create_job.h"
#include "server/api/jobs.h"
#include "server/api/read_artifact.h"
#include "server/api/uploads.h"
#include "server/api/watch_job.h"
#include "server/api/webhooks.h"
#include "server/api/write_upload_file.h"

namespace quantd {
// One line per rpc that answers once: run `function` on the executor.
#define QD_UNARY(Name, Request, Response, executor, function)                                  \
  grpc::ServerUnaryReactor* QuantizationService::Name(                                         \
      Context* context, const v1::Request* request, Response* response) {                      \
    return RunUnary(api_, executor, context, RpcNamed(kUserService, #Name), request, response, \
                    [this](const Caller& caller, const v1::Request& in, Response* out) {       \
                      return function(api_, caller, in, out);                                  \
                    });                                                                        \
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
QD_UNARY(CreateUpload, CreateUploadRequest, v1::Upload, api_.executor, quantd::CreateUpload)
QD_UNARY(GetUpload, GetUploadRequest, v1::Upload, api_.executor, quantd::GetUpload)
QD_UNARY(CommitUpload, CommitUploadRequest, v1::Upload, api_.executor, quantd::CommitUpload)
QD_UNARY(ListUploads, ListUploadsRequest, v1::ListUploadsResponse, api_.executor,
         quantd::ListUploads)
QD_UNARY(DeleteUpload, DeleteUploadRequest, Empty, api_.executor, quantd::DeleteUpload)
QD_UNARY(ListWebhookDeliveries, ListWebhookDeliveriesRequest, v1::ListWebhookDeliveriesResponse,
         api_.executor, quantd::ListWebhookDeliveries)
QD_UNARY(ListWorkers, ListWorkersRequest, v1::ListWorkersResponse, api_.executor,
         quantd::ListWorkers)
QD_UNARY(DrainWorker, DrainWorkerRequest, v1::Worker, api_.executor, quantd::DrainWorker)
#undef QD_UNARY

grpc::ServerWriteReactor<v1::JobEvent>* QuantizationService::WatchJob(
    Context* context, const v1::WatchJobRequest* request) {
  return quantd::WatchJob(api_, CredentialsOf(*context), *request);
}

grpc::ServerWriteReactor<v1::ArtifactChunk>* QuantizationService::ReadArtifactFile(
    Context* context, const v1::ReadArtifactFileRequest* request) {
  return quantd::ReadArtifactFile(api_, CredentialsOf(*context), *request);
}

grpc::ServerReadReactor<v1::WriteUploadFileRequest>* QuantizationService::WriteUploadFile(
    Context* context, v1::WriteUploadFileResponse* response) {
  return quantd::WriteUploadFile(api_, CredentialsOf(*context), response);
}

}  // namespace quantd
