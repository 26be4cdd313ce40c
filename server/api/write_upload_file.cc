#include "server/api/write_upload_file.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/exceptions.h"
#include "proto/field_checks.h"
#include "server/api/calls.h"
#include "server/api/upload_messages.h"
#include "server/contents.h"
#include "server/staging.h"

namespace quantd {
namespace {

// What a call writes to, found when its first message has come.
struct Target {
  Upload upload;
  UploadFile file;
  Content content;
};

// One flow of control owns the call: a read under way, or a step on the executor. Each ends in the
// next or in Finish. Deletes itself when the call is over.
class WriteStream final : public grpc::ServerReadReactor<v1::WriteUploadFileRequest> {
 public:
  WriteStream(ApiContext& api, Credentials credentials, v1::WriteUploadFileResponse* response)
      : api_(api),
        credentials_(std::move(credentials)),
        response_(response),
        timer_(api, kRpc.method) {
    ++api_.streams;
  }

  void Start() {
    if (api_.streams.load() > api_.limits.streams) {
      return End(MakeError(Reason::kQuotaExceeded, "too many streams are open; try again later"));
    }
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    more_ = ok;
    api_.executor.Run([this] { RunStep(); });
  }

  void OnCancel() override { cancelled_.store(true); }

  void OnDone() override {
    --api_.streams;
    delete this;
  }

 private:
  static constexpr const RpcRow& kRpc = RpcNamed(kUserService, "WriteUploadFile");

  // What throws does so before the step ends in a read or in the end.
  void RunStep() {
    if (cancelled_.load()) return End(MakeError(Reason::kCancelled, "the client is gone"));
    if (api_.hub.stopped()) return End(ShuttingDown());
    const absl::Status status = CatchExceptions("an upload", [this]() -> absl::Status {
      QD_ASSIGN_OR_RETURN(const Caller caller, api_.access.Admit(kRpc, credentials_));
      if (!more_) return Finish();
      QD_RETURN_IF_ERROR(CheckNoUnknownFields(message_, ""));
      if (!target_.has_value()) QD_RETURN_IF_ERROR(Open(caller));
      return Take();
    });
    if (!status.ok() || !more_) return End(status);
    StartRead(&message_);
  }

  absl::Status Open(const Caller& caller) {
    QD_RETURN_IF_ERROR(CheckUploadName("name", message_.name()));
    QD_ASSIGN_OR_RETURN(target_, WriteResult(api_.store, [&](StoreTransaction& store) {
                          return FindTarget(store, caller);
                        }));
    if (target_->content.held) return absl::OkStatus();
    QD_ASSIGN_OR_RETURN(staged_, api_.staging.Open(target_->content));
    return absl::OkStatus();
  }

  // Notes, too, that bytes come: an upload that gets none is removed some day.
  absl::StatusOr<std::optional<Target>> FindTarget(StoreTransaction& store, const Caller& caller) {
    Target target;
    QD_ASSIGN_OR_RETURN(target.upload, GetUpload(store, caller.tenant, message_.name()));
    for (const UploadFile& file : target.upload.files) {
      if (file.path != message_.path()) continue;
      target.file = file;
      QD_ASSIGN_OR_RETURN(target.content, ContentOf(store, target.upload, file));
      target.upload.change_time = api_.clock.Now();
      QD_RETURN_IF_ERROR(store.UpdateUpload(target.upload));
      return std::optional<Target>(std::move(target));
    }
    return MakeError(Reason::kUploadNotFound, "the upload has no such file",
                     Violation{.where = "path",
                               .got = message_.path().substr(0, 255),
                               .wanted = "a path of its files"});
  }

  absl::Status Take() {
    // What the server holds already needs no bytes: whoever sends them has not asked.
    if (target_->content.held) return absl::OkStatus();
    const std::string& data = message_.data();
    if (message_.offset() != staged_->size()) {
      return Refuse(Reason::kWrongState, "offset", absl::StrCat(message_.offset()),
                    absl::StrCat(staged_->size(), ", the committed_size"));
    }
    if (static_cast<int64_t>(data.size()) > api_.limits.chunk_bytes) {
      return Refuse(Reason::kInvalidField, "data", absl::StrCat(data.size(), " bytes"),
                    absl::StrCat("at most ", api_.limits.chunk_bytes));
    }
    if (staged_->size() + static_cast<int64_t>(data.size()) > target_->file.bytes) {
      return Refuse(Reason::kInvalidField, "data",
                    absl::StrCat(staged_->size() + static_cast<int64_t>(data.size()), " bytes"),
                    absl::StrCat("at most the file's ", target_->file.bytes));
    }
    if (Crc32c(data) != message_.crc32c()) {
      return Refuse(Reason::kUnavailable, "crc32c", absl::StrCat(Crc32c(data)),
                    absl::StrCat(message_.crc32c(), "; send it again"));
    }
    return staged_->Append(data);
  }

  static absl::Status Refuse(Reason reason, std::string where, std::string got,
                             std::string wanted) {
    return MakeError(
        reason, "refused",
        Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
  }

  // The client has said all that it wanted to. The last byte of a file makes it whole.
  absl::Status Finish() {
    if (!target_.has_value()) {
      return MakeError(Reason::kInvalidField, "a call without a message");
    }
    if (staged_ != nullptr && staged_->size() == target_->file.bytes) {
      QD_RETURN_IF_ERROR(
          staged_->Verify(target_->content, target_->upload.name + " " + target_->file.path));
      QD_RETURN_IF_ERROR(Hold());
    }
    *response_->mutable_file() = ToProto(api_, target_->file, target_->content);
    return absl::OkStatus();
  }

  absl::Status Hold() {
    Content& content = target_->content;
    QD_RETURN_IF_ERROR(api_.blobs.PutFile(content.blob, staged_->path()));
    const auto hold = [&](StoreTransaction& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(const auto now, store.FindContent(content.tenant, content.sha256));
      if (!now.has_value() || now->blob != content.blob) {
        return MakeError(Reason::kUploadNotFound, "the upload was deleted",
                         Violation{.where = "name", .got = target_->upload.name, .wanted = ""});
      }
      Content held = *now;
      held.held = true;
      return store.PutContent(held);
    };
    absl::Status held = api_.store.Write(hold);
    content.held = held.ok();
    // Its row is gone: nobody else will remove it before the next sweep.
    if (ReasonOf(held) == Reason::kUploadNotFound) {
      QD_RETURN_IF_ERROR(api_.blobs.DeleteAll(content.blob));
    }
    return held;
  }

  void End(const absl::Status& status) {
    staged_.reset();
    this->ServerReadReactor::Finish(timer_.End(status));
  }

  ApiContext& api_;
  const Credentials credentials_;
  v1::WriteUploadFileResponse* const response_;
  const CallTimer timer_;
  std::atomic<bool> cancelled_ = false;
  bool more_ = true;
  v1::WriteUploadFileRequest message_;
  std::optional<Target> target_;
  std::unique_ptr<StagedFile> staged_;
};

}  // namespace

grpc::ServerReadReactor<v1::WriteUploadFileRequest>* WriteUploadFile(
    ApiContext& api, Credentials credentials, v1::WriteUploadFileResponse* response) {
  auto* stream = new WriteStream(api, std::move(credentials), response);
  stream->Start();
  return stream;
}

}  // namespace quantd
