#include "server/api/upload_messages.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "proto/convert_time.h"
#include "proto/field_checks.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr size_t kLongestPath = 255;
constexpr size_t kDigestCharacters = 64;
constexpr int64_t kMaxFileBytes = int64_t{1} << 44;

bool IsPlainName(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kLongestPath && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), allowed);
}

bool IsDigest(std::string_view text) {
  return text.size() == kDigestCharacters && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void CheckFile(const v1::UploadFile& file, const std::string& where, FieldChecks& checks) {
  if (!IsPlainName(file.path())) {
    checks.Wrong(where + ".path", file.path().substr(0, kLongestPath),
                 "1 to 255 letters, digits, '.', '_' and '-'; no folders");
  }
  checks.InRange(where + ".bytes", file.bytes(), 0, kMaxFileBytes);
  if (!IsDigest(file.sha256())) {
    checks.Wrong(where + ".sha256", file.sha256().substr(0, kDigestCharacters),
                 "64 hex digits in lower case");
  }
}

// Two files of one content must be of one size, and no path may be there twice.
void CheckTogether(const std::vector<UploadFile>& files, FieldChecks& checks) {
  for (size_t i = 1; i < files.size(); ++i) {
    if (files[i].path == files[i - 1].path) checks.Wrong("files", files[i].path, "each path once");
  }
  std::map<std::string, int64_t> sizes;
  for (const UploadFile& file : files) {
    if (sizes.emplace(file.sha256, file.bytes).first->second == file.bytes) continue;
    checks.Wrong("files", file.path + ", of the same digest as another file and another size",
                 "the same size");
  }
}

}  // namespace

absl::Status CheckUploadName(std::string_view field, std::string_view name) {
  for (const std::string_view collection : {kModelCollection, kDatasetCollection}) {
    if (name.starts_with(collection) && IsId(name.substr(collection.size()))) {
      return absl::OkStatus();
    }
  }
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = std::string(field),
                             .got = std::string(name.substr(0, kLongestPath)),
                             .wanted = "models/{id} or datasets/{id}, the id "
                                       "^[a-z0-9][a-z0-9-]{0,62}$"});
}

absl::StatusOr<Upload> UploadFromProto(const v1::Upload& message, const Limits& limits) {
  QD_RETURN_IF_ERROR(CheckUploadName("upload.name", message.name()));
  FieldChecks checks("upload");
  const bool dataset = message.name().starts_with(kDatasetCollection);
  const int most = dataset ? 1 : limits.upload_files;
  if (message.files_size() < 1 || message.files_size() > most) {
    checks.Wrong("files", absl::StrCat(message.files_size(), " files"),
                 dataset ? "one file" : absl::StrCat("1 to ", most));
    return checks.Finish();
  }
  Upload upload;
  upload.name = message.name();
  for (int i = 0; i < message.files_size(); ++i) {
    const v1::UploadFile& file = message.files(i);
    CheckFile(file, absl::StrCat("files[", i, "]"), checks);
    upload.files.push_back({.path = file.path(), .bytes = file.bytes(), .sha256 = file.sha256()});
  }
  std::sort(upload.files.begin(), upload.files.end(),
            [](const UploadFile& a, const UploadFile& b) { return a.path < b.path; });
  CheckTogether(upload.files, checks);
  QD_RETURN_IF_ERROR(checks.Finish());
  return upload;
}

v1::Upload ToProto(const Upload& upload) {
  v1::Upload message;
  message.set_name(upload.name);
  message.set_state(upload.ready ? v1::Upload::READY : v1::Upload::UPLOADING);
  *message.mutable_create_time() = ToProto(upload.create_time);
  int64_t bytes = 0;
  for (const UploadFile& file : upload.files) bytes += file.bytes;
  message.set_bytes(bytes);
  return message;
}

v1::UploadFile ToProto(const ApiContext& api, const UploadFile& file, const Content& content) {
  v1::UploadFile message;
  message.set_path(file.path);
  message.set_bytes(file.bytes);
  message.set_sha256(file.sha256);
  message.set_complete(content.held);
  message.set_committed_size(content.held ? file.bytes : api.staging.SizeOf(content));
  return message;
}

absl::StatusOr<v1::Upload> ToProto(const ApiContext& api, StoreReader& store,
                                   const Upload& upload) {
  v1::Upload message = ToProto(upload);
  for (const UploadFile& file : upload.files) {
    QD_ASSIGN_OR_RETURN(const Content content, ContentOf(store, upload, file));
    *message.add_files() = ToProto(api, file, content);
  }
  return message;
}

absl::StatusOr<Upload> GetUpload(StoreReader& store, std::string_view tenant,
                                 std::string_view name) {
  QD_ASSIGN_OR_RETURN(auto upload, store.FindUpload(tenant, name));
  if (upload.has_value()) return *std::move(upload);
  return MakeError(Reason::kUploadNotFound, "there is no such upload",
                   Violation{.where = "name", .got = std::string(name), .wanted = ""});
}

absl::StatusOr<Content> ContentOf(StoreReader& store, const Upload& upload,
                                  const UploadFile& file) {
  QD_ASSIGN_OR_RETURN(auto content, store.FindContent(upload.tenant, file.sha256));
  if (content.has_value()) return *std::move(content);
  return MakeError(Reason::kInternal, "a file of an upload without its content");
}

}  // namespace quantd
