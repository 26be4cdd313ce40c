#include "server/api/read_artifact.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "server/api/job_messages.h"
#include "server/api/request_checks.h"
#include "server/api/stream.h"

namespace quantd {
namespace {

class ReadStream final : public Stream<v1::ArtifactChunk> {
 public:
  ReadStream(ApiContext& api, Credentials credentials, const v1::ReadArtifactFileRequest& request)
      : Stream(api, RpcNamed(kUserService, "ReadArtifactFile"), std::move(credentials)),
        request_(request) {}

 private:
  void Step(const Caller& caller) override {
    if (blob_ == nullptr) {
      if (const absl::Status opened = Open(caller); !opened.ok()) return End(opened);
    } else if (at_ == end_) {
      return End(absl::OkStatus());
    }
    if (const absl::Status filled = FillChunk(); !filled.ok()) return End(filled);
    Write(&chunk_);
  }

  absl::Status Open(const Caller& caller) {
    QD_RETURN_IF_ERROR(CheckNoUnknownFields(request_, ""));
    QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request_.job(), "job"));
    ArtifactFile file;
    QD_RETURN_IF_ERROR(api_.store.Read([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), id));
      QD_ASSIGN_OR_RETURN(file, store.GetArtifactFile(job, request_.path()));
      return absl::OkStatus();
    }));
    if (request_.offset() < 0 || request_.offset() > file.bytes) {
      return FieldRange("offset", request_.offset(), file.bytes);
    }
    if (request_.limit() < 0) return FieldRange("limit", request_.limit(), file.bytes);
    QD_ASSIGN_OR_RETURN(blob_, api_.blobs.Open(file.blob));
    if (blob_->size() != file.bytes) {
      return MakeError(Reason::kIo, "a file of the artifact has changed its size",
                       Violation{.where = file.path,
                                 .got = absl::StrCat(blob_->size()),
                                 .wanted = absl::StrCat(file.bytes)});
    }
    at_ = request_.offset();
    const int64_t rest = file.bytes - at_;
    end_ = at_ + (request_.limit() == 0 ? rest : std::min(rest, request_.limit()));
    *chunk_.mutable_file() = ToProto(file);
    return absl::OkStatus();
  }

  static absl::Status FieldRange(std::string_view field, int64_t got, int64_t most) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = std::string(field),
                               .got = absl::StrCat(got),
                               .wanted = absl::StrCat("0 to ", most)});
  }

  absl::Status FillChunk() {
    const int64_t bytes = std::min<int64_t>(end_ - at_, api_.limits.chunk_bytes);
    std::string* data = chunk_.mutable_data();
    data->resize(static_cast<size_t>(bytes));
    QD_RETURN_IF_ERROR(
        blob_->Read(at_, std::as_writable_bytes(std::span<char>(data->data(), data->size()))));
    if (sent_first_) chunk_.clear_file();
    sent_first_ = true;
    chunk_.set_offset(at_);
    chunk_.set_crc32c(Crc32c(*data));
    at_ += bytes;
    api_.metrics.BytesServed(bytes);
    return absl::OkStatus();
  }

  const v1::ReadArtifactFileRequest request_;
  std::unique_ptr<RandomAccessFile> blob_;
  int64_t at_ = 0, end_ = 0;
  bool sent_first_ = false;
  v1::ArtifactChunk chunk_;
};

}  // namespace

grpc::ServerWriteReactor<v1::ArtifactChunk>* ReadArtifactFile(
    ApiContext& api, Credentials credentials, const v1::ReadArtifactFileRequest& request) {
  auto* stream = new ReadStream(api, std::move(credentials), request);
  stream->Start();
  return stream;
}

}  // namespace quantd
