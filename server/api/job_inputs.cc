#include "server/api/job_inputs.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf_source/open_model.h"
#include "engine/tensor/model_blobs.h"
#include "server/api/upload_messages.h"

namespace quantd {
namespace {

// An upload that a job may use, by the field that names it.
absl::StatusOr<Upload> ReadyUpload(StoreReader& store, const std::string& tenant,
                                   std::string_view collection, const std::string& field,
                                   const std::string& name) {
  const bool fits = name.starts_with(collection) && CheckUploadName(field, name).ok();
  if (!fits) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = field,
                               .got = name.substr(0, 100),
                               .wanted = absl::StrCat(ToAbsl(collection), "{id}")});
  }
  auto upload = GetUpload(store, tenant, name);
  if (ReasonOf(upload.status()) == Reason::kUploadNotFound) {
    return MakeError(Reason::kUploadNotFound, "nothing was uploaded under that name",
                     Violation{.where = field, .got = name, .wanted = "an upload of the tenant's"});
  }
  if (upload.ok() && !upload->ready) {
    return MakeError(Reason::kWrongState, "the upload is not complete",
                     Violation{.where = field, .got = name, .wanted = "a committed upload"});
  }
  return upload;
}

using Blobs = std::map<std::string, std::string, std::less<>>;  // by path

absl::StatusOr<Blobs> BlobsOf(StoreReader& store, const Upload& upload) {
  Blobs blobs;
  for (const UploadFile& file : upload.files) {
    QD_ASSIGN_OR_RETURN(Content content, ContentOf(store, upload, file));
    blobs[file.path] = std::move(content.blob);
  }
  return blobs;
}

// Notes the upload, and returns the blobs of its files.
absl::StatusOr<Blobs> UseUpload(const ApiContext& api, const std::string& tenant,
                                std::string_view collection, const std::string& field,
                                const std::string& name, PlanInputs& inputs) {
  using Found = std::pair<Upload, Blobs>;
  const auto find = [&](StoreReader& store) -> absl::StatusOr<Found> {
    QD_ASSIGN_OR_RETURN(Upload upload, ReadyUpload(store, tenant, collection, field, name));
    QD_ASSIGN_OR_RETURN(Blobs blobs, BlobsOf(store, upload));
    return Found(std::move(upload), std::move(blobs));
  };
  QD_ASSIGN_OR_RETURN(Found found, ReadResult(api.store, find));
  inputs.uploads.push_back(std::move(found.first));
  return std::move(found.second);
}

// Makes the text a file, which may be as large as a text may, and returns its path.
absl::StatusOr<std::string> FetchDataset(const ApiContext& api, const std::string& tenant,
                                         const std::string& field, const std::string& name,
                                         PlanInputs& inputs) {
  QD_ASSIGN_OR_RETURN(const Blobs blobs,
                      UseUpload(api, tenant, kDatasetCollection, field, name, inputs));
  if (!inputs.datasets.has_value()) {
    QD_ASSIGN_OR_RETURN(inputs.datasets, TemporaryFolder::Create("quantd-plan"));
  }
  const std::string place = absl::StrCat(inputs.datasets->path(), "/", name);
  QD_RETURN_IF_ERROR(MakeFolders(place));
  const auto& [path, blob] = *blobs.begin();
  QD_RETURN_IF_ERROR(api.blobs.GetCopy(blob, absl::StrCat(place, "/", path)));
  return absl::StrCat(place, "/", path);
}

}  // namespace

std::vector<std::string> UploadsNamedBy(const v1::JobSpec& spec) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  };
  add(spec.model().uploaded());
  add(spec.calibration().dataset().uploaded());
  add(spec.evaluation().dataset().uploaded());
  return names;
}

absl::StatusOr<PlanInputs> OpenPlanInputs(const ApiContext& api, const std::string& tenant,
                                          const v1::JobSpec& spec, QuantizeRequest& request) {
  PlanInputs inputs;
  if (spec.model().has_uploaded()) {
    const std::string& name = spec.model().uploaded();
    QD_ASSIGN_OR_RETURN(Blobs blobs, UseUpload(api, tenant, kModelCollection,
                                               "job.spec.model.uploaded", name, inputs));
    // The store of the server outlives every call.
    const std::shared_ptr<const BlobStore> store(std::shared_ptr<void>(), &api.blobs);
    QD_ASSIGN_OR_RETURN(auto files, OpenModelBlobs(store, name, std::move(blobs)));
    QD_ASSIGN_OR_RETURN(inputs.model, ShowModel(std::move(files)));
  }
  if (spec.calibration().dataset().has_uploaded()) {
    QD_ASSIGN_OR_RETURN(request.calibration.text,
                        FetchDataset(api, tenant, "job.spec.calibration.dataset.uploaded",
                                     request.calibration.text, inputs));
  }
  if (spec.evaluation().dataset().has_uploaded()) {
    QD_ASSIGN_OR_RETURN(request.evaluation.text,
                        FetchDataset(api, tenant, "job.spec.evaluation.dataset.uploaded",
                                     request.evaluation.text, inputs));
  }
  if (inputs.datasets.has_value()) request.model_roots.push_back(inputs.datasets->path());
  return inputs;
}

absl::Status HoldInputs(StoreTransaction& store, const Job& job, const v1::JobSpec& spec) {
  for (const std::string& name : UploadsNamedBy(spec)) {
    QD_ASSIGN_OR_RETURN(const Upload upload, GetUpload(store, job.tenant, name));
    QD_RETURN_IF_ERROR(store.PutUploadUse(job.tenant, upload.name, job.number));
  }
  return absl::OkStatus();
}

absl::Status TellInputs(StoreReader& store, const std::string& tenant, const v1::JobSpec& spec,
                        v1::TaskAssignment& assignment) {
  for (const std::string& name : UploadsNamedBy(spec)) {
    QD_ASSIGN_OR_RETURN(const Upload upload, GetUpload(store, tenant, name));
    v1::TaskInput* input = assignment.add_inputs();
    input->set_name(name);
    for (const UploadFile& file : upload.files) {
      QD_ASSIGN_OR_RETURN(const Content content, ContentOf(store, upload, file));
      v1::TaskInput::File* told = input->add_files();
      told->set_path(file.path);
      told->set_bytes(file.bytes);
      told->set_sha256(file.sha256);
      told->set_blob(content.blob);
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
