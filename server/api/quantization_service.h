// The rpcs of users, each handed to the file that does it.
#pragma once

#include "quantd/v1/quantization_service.grpc.pb.h"
#include "server/api/context.h"

namespace quantd {

class QuantizationService final : public v1::QuantizationService::CallbackService {
 public:
  explicit QuantizationService(ApiContext& api) : api_(api) {}

  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  using Empty = google::protobuf::Empty;

  Unary* GetCapabilities(Context* context, const v1::GetCapabilitiesRequest* request,
                         v1::Capabilities* response) override;
  Unary* CreateJob(Context* context, const v1::CreateJobRequest* request,
                   v1::Job* response) override;
  Unary* GetJob(Context* context, const v1::GetJobRequest* request, v1::Job* response) override;
  Unary* ListJobs(Context* context, const v1::ListJobsRequest* request,
                  v1::ListJobsResponse* response) override;
  Unary* CancelJob(Context* context, const v1::CancelJobRequest* request,
                   v1::Job* response) override;
  Unary* DeleteJob(Context* context, const v1::DeleteJobRequest* request, Empty* response) override;
  grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(Context* context,
                                                   const v1::WatchJobRequest* request) override;
  Unary* ListArtifactFiles(Context* context, const v1::ListArtifactFilesRequest* request,
                           v1::ListArtifactFilesResponse* response) override;
  grpc::ServerWriteReactor<v1::ArtifactChunk>* ReadArtifactFile(
      Context* context, const v1::ReadArtifactFileRequest* request) override;
  Unary* CreateUpload(Context* context, const v1::CreateUploadRequest* request,
                      v1::Upload* response) override;
  Unary* GetUpload(Context* context, const v1::GetUploadRequest* request,
                   v1::Upload* response) override;
  grpc::ServerReadReactor<v1::WriteUploadFileRequest>* WriteUploadFile(
      Context* context, v1::WriteUploadFileResponse* response) override;
  Unary* CommitUpload(Context* context, const v1::CommitUploadRequest* request,
                      v1::Upload* response) override;
  Unary* ListUploads(Context* context, const v1::ListUploadsRequest* request,
                     v1::ListUploadsResponse* response) override;
  Unary* DeleteUpload(Context* context, const v1::DeleteUploadRequest* request,
                      Empty* response) override;
  Unary* ListWebhookDeliveries(Context* context, const v1::ListWebhookDeliveriesRequest* request,
                               v1::ListWebhookDeliveriesResponse* response) override;
  Unary* ListWorkers(Context* context, const v1::ListWorkersRequest* request,
                     v1::ListWorkersResponse* response) override;
  Unary* DrainWorker(Context* context, const v1::DrainWorkerRequest* request,
                     v1::Worker* response) override;

 private:
  ApiContext& api_;
};

}  // namespace quantd
