#include "server/api/uploads.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "server/api/page_token.h"
#include "server/api/request_checks.h"
#include "server/api/upload_messages.h"
#include "server/contents.h"

namespace quantd {
namespace {

absl::Status NameTaken(const Upload& known) {
  return MakeError(
      Reason::kAlreadyExists, "the name stands for other files",
      Violation{
          .where = "upload.name", .got = known.name, .wanted = "another name, or delete it first"});
}

// Gives every content that the tenant does not have yet a row, and so a place to come to.
absl::Status AddContents(StoreTransaction& store, const Upload& upload, const Limits& limits) {
  for (const UploadFile& file : upload.files) {
    QD_ASSIGN_OR_RETURN(const auto known, store.FindContent(upload.tenant, file.sha256));
    if (!known.has_value()) {
      QD_RETURN_IF_ERROR(store.PutContent({.tenant = upload.tenant,
                                           .sha256 = file.sha256,
                                           .bytes = file.bytes,
                                           .blob = NewContentBlob(upload.tenant, file.sha256)}));
    } else if (known->bytes != file.bytes) {
      return MakeError(
          Reason::kInvalidField, "refused",
          Violation{.where = "upload.files " + file.path,
                    .got = absl::StrCat(file.bytes, " bytes"),
                    .wanted = absl::StrCat(known->bytes, ", as another file of that digest has")});
    }
  }
  QD_ASSIGN_OR_RETURN(const int64_t bytes, store.UploadedBytes(upload.tenant));
  if (bytes <= limits.upload_bytes) return absl::OkStatus();
  return MakeError(Reason::kQuotaExceeded, "the tenant's uploads would take too much room",
                   Violation{.where = "upload.files",
                             .got = absl::StrCat(bytes, " bytes with those that there are"),
                             .wanted = absl::StrCat("at most ", limits.upload_bytes,
                                                    "; delete what is needed no longer")});
}

}  // namespace

absl::Status CreateUpload(ApiContext& api, const Caller& caller,
                          const v1::CreateUploadRequest& request, v1::Upload* response) {
  QD_ASSIGN_OR_RETURN(Upload upload, UploadFromProto(request.upload(), api.limits));
  upload.tenant = caller.tenant;
  upload.create_time = upload.change_time = api.clock.Now();
  const auto create = [&](StoreTransaction& store) -> absl::StatusOr<v1::Upload> {
    QD_ASSIGN_OR_RETURN(const auto known, store.FindUpload(upload.tenant, upload.name));
    if (known.has_value()) {
      if (known->files != upload.files) return NameTaken(*known);
      return ToProto(api, store, *known);
    }
    QD_RETURN_IF_ERROR(store.InsertUpload(upload));
    QD_RETURN_IF_ERROR(AddContents(store, upload, api.limits));
    return ToProto(api, store, upload);
  };
  QD_ASSIGN_OR_RETURN(*response, WriteResult(api.store, create));
  return absl::OkStatus();
}

absl::Status GetUpload(ApiContext& api, const Caller& caller, const v1::GetUploadRequest& request,
                       v1::Upload* response) {
  QD_RETURN_IF_ERROR(CheckUploadName("name", request.name()));
  QD_ASSIGN_OR_RETURN(
      *response, ReadResult(api.store, [&](StoreReader& store) -> absl::StatusOr<v1::Upload> {
        QD_ASSIGN_OR_RETURN(const Upload upload, GetUpload(store, caller.tenant, request.name()));
        return ToProto(api, store, upload);
      }));
  return absl::OkStatus();
}

absl::Status CommitUpload(ApiContext& api, const Caller& caller,
                          const v1::CommitUploadRequest& request, v1::Upload* response) {
  QD_RETURN_IF_ERROR(CheckUploadName("name", request.name()));
  const auto commit = [&](StoreTransaction& store) -> absl::StatusOr<v1::Upload> {
    QD_ASSIGN_OR_RETURN(Upload upload, GetUpload(store, caller.tenant, request.name()));
    for (const UploadFile& file : upload.files) {
      QD_ASSIGN_OR_RETURN(const Content content, ContentOf(store, upload, file));
      if (content.held) continue;
      return MakeError(Reason::kWrongState, "the upload is not complete",
                       Violation{.where = absl::StrCat(upload.name, " ", file.path),
                                 .got = absl::StrCat(api.staging.SizeOf(content), " bytes"),
                                 .wanted = absl::StrCat(file.bytes)});
    }
    upload.ready = true;
    QD_RETURN_IF_ERROR(store.UpdateUpload(upload));
    return ToProto(api, store, upload);
  };
  QD_ASSIGN_OR_RETURN(*response, WriteResult(api.store, commit));
  spdlog::info("{} of {} is uploaded: {} bytes", request.name(), caller.tenant, response->bytes());
  return absl::OkStatus();
}

absl::Status ListUploads(ApiContext& api, const Caller& caller,
                         const v1::ListUploadsRequest& request, v1::ListUploadsResponse* response) {
  const std::string collection = request.collection() + "/";
  if (collection != kModelCollection && collection != kDatasetCollection) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "collection",
                               .got = request.collection().substr(0, 100),
                               .wanted = "models or datasets"});
  }
  QD_ASSIGN_OR_RETURN(const int limit, PageSize(request.page_size(), api.limits.default_page_size,
                                                api.limits.page_size));
  std::string after;
  if (!request.page_token().empty()) {
    QD_ASSIGN_OR_RETURN(after, DecodeTextToken(request.page_token()));
  }
  const auto list = [&](StoreReader& store) -> absl::StatusOr<v1::ListUploadsResponse> {
    v1::ListUploadsResponse listed;
    QD_ASSIGN_OR_RETURN(const auto uploads,
                        store.ListUploads(caller.tenant, collection, after, limit + 1));
    for (const Upload& upload : uploads) {
      if (listed.uploads_size() == limit) {
        listed.set_next_page_token(EncodeTextToken(listed.uploads(limit - 1).name()));
        break;
      }
      *listed.add_uploads() = ToProto(upload);
    }
    return listed;
  };
  QD_ASSIGN_OR_RETURN(*response, ReadResult(api.store, list));
  return absl::OkStatus();
}

absl::Status DeleteUpload(ApiContext& api, const Caller& caller,
                          const v1::DeleteUploadRequest& request,
                          google::protobuf::Empty* /*response*/) {
  QD_RETURN_IF_ERROR(CheckUploadName("name", request.name()));
  const auto remove = [&](StoreTransaction& store) -> absl::StatusOr<std::vector<Content>> {
    QD_RETURN_IF_ERROR(GetUpload(store, caller.tenant, request.name()).status());
    QD_ASSIGN_OR_RETURN(const auto user, store.OpenJobUsing(caller.tenant, request.name()));
    if (user.has_value()) {
      return MakeError(Reason::kWrongState, "the upload is in use",
                       Violation{.where = request.name(),
                                 .got = "jobs/" + *user + " is open",
                                 .wanted = "no open job: cancel it or wait for it"});
    }
    return store.DeleteUpload(caller.tenant, request.name());
  };
  QD_ASSIGN_OR_RETURN(const std::vector<Content> unnamed, WriteResult(api.store, remove));
  DropContents(unnamed, api.blobs, api.staging);
  spdlog::info("{} of {} is deleted", request.name(), caller.tenant);
  return absl::OkStatus();
}

}  // namespace quantd
