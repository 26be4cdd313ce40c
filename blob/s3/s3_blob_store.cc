#include "blob/s3_blob_store.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <pugixml.hpp>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "base/files.h"
#include "blob/s3/s3_client.h"

namespace quantd {
namespace {

// Larger files go in parts of this size: at least 5 MiB, and at most 10,000 of them, 156 GiB.
constexpr int64_t kPartBytes = int64_t{16} << 20;
constexpr int64_t kMostParts = 10'000;
// Smaller reads fetch this much: headers are read in little pieces.
constexpr int64_t kReadAhead = int64_t{1} << 20;

absl::StatusOr<std::string> ReadPiece(const RandomAccessFile& file, int64_t offset, int64_t count) {
  std::string piece(static_cast<size_t>(count), '\0');
  QD_RETURN_IF_ERROR(
      file.Read(offset, std::as_writable_bytes(std::span(piece.data(), piece.size()))));
  return piece;
}

// An object of a known size, read by ranges. Thread-safe.
class S3File : public RandomAccessFile {
 public:
  S3File(std::shared_ptr<S3Client> client, std::string object, int64_t size, std::string tag)
      : client_(std::move(client)), object_(std::move(object)), size_(size), tag_(std::move(tag)) {}

  int64_t size() const override { return size_; }
  const std::string& name() const override { return object_; }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    const auto count = static_cast<int64_t>(out.size());
    if (offset < 0 || count > size_ - offset) {
      return MakeError(Reason::kModelCorrupt, "cannot read",
                       Violation{.where = object_,
                                 .got = absl::StrCat("the end after ", size_, " bytes"),
                                 .wanted = absl::StrCat(count, " bytes at ", offset)});
    }
    if (count == 0) return absl::OkStatus();
    if (count >= kReadAhead) return FetchInParts(offset, out);
    absl::MutexLock lock(&mutex_);
    const bool held = offset >= ahead_begin_ &&
                      offset + count <= ahead_begin_ + static_cast<int64_t>(ahead_.size());
    if (!held) {
      std::vector<std::byte> piece(static_cast<size_t>(std::min(kReadAhead, size_ - offset)));
      QD_RETURN_IF_ERROR(Fetch(offset, static_cast<int64_t>(piece.size()), piece));
      ahead_ = std::move(piece);
      ahead_begin_ = offset;
    }
    std::memcpy(out.data(), ahead_.data() + (offset - ahead_begin_), out.size());
    return absl::OkStatus();
  }

 private:
  // An answer is held whole before it is copied: of a large tensor that would be twice its memory.
  absl::Status FetchInParts(int64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const auto part = out.first(std::min(out.size(), static_cast<size_t>(kPartBytes)));
      QD_RETURN_IF_ERROR(Fetch(offset, static_cast<int64_t>(part.size()), part));
      offset += static_cast<int64_t>(part.size());
      out = out.subspan(part.size());
    }
    return absl::OkStatus();
  }

  // If-Match: an object that was replaced in the meantime is not read as a mixture.
  absl::Status Fetch(int64_t offset, int64_t count, std::span<std::byte> out) const {
    QD_ASSIGN_OR_RETURN(
        const S3Answer answer,
        client_->Send(
            {.method = "GET",
             .object = object_,
             .headers = {{"range", absl::StrCat("bytes=", offset, "-", offset + count - 1)},
                         {"if-match", tag_}}}));
    if (static_cast<int64_t>(answer.body.size()) != count) {
      return MakeError(Reason::kIo, "the object store gives another number of bytes",
                       Violation{.where = object_,
                                 .got = absl::StrCat(answer.body.size()),
                                 .wanted = absl::StrCat(count)});
    }
    std::memcpy(out.data(), answer.body.data(), answer.body.size());
    return absl::OkStatus();
  }

  const std::shared_ptr<S3Client> client_;
  const std::string object_;
  const int64_t size_;
  const std::string tag_;
  mutable absl::Mutex mutex_;
  mutable std::vector<std::byte> ahead_ ABSL_GUARDED_BY(mutex_);
  mutable int64_t ahead_begin_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The answer's XML, whose root is `root`.
absl::Status ParseXml(const S3Answer& answer, const char* root, pugi::xml_document& document) {
  if (document.load_buffer(answer.body.data(), answer.body.size()) && document.child(root)) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kIo, "the object store's answer cannot be read",
                   Violation{.where = "XML", .got = answer.body.substr(0, 200), .wanted = root});
}

class S3BlobStore : public BlobStore {
 public:
  explicit S3BlobStore(std::shared_ptr<S3Client> client) : client_(std::move(client)) {}

  absl::Status PutFile(std::string_view name, const std::string& path) override {
    QD_RETURN_IF_ERROR(PutCopy(name, path));
    return RemoveTree(path);
  }

  absl::Status PutCopy(std::string_view name, const std::string& path) override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
    const std::string object(name);
    if (file->size() > kPartBytes) return PutInParts(object, *file);
    QD_ASSIGN_OR_RETURN(const std::string body, ReadPiece(*file, 0, file->size()));
    return client_->Send({.method = "PUT", .object = object, .body = body}).status();
  }

  absl::Status GetCopy(std::string_view name, const std::string& path) const override {
    QD_ASSIGN_OR_RETURN(const auto blob, Open(name));
    QD_RETURN_IF_ERROR(RemoveTree(path));
    QD_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::Create(path, Durability::kNamed));
    for (int64_t at = 0; at < blob->size(); at += kPartBytes) {
      QD_ASSIGN_OR_RETURN(const std::string piece,
                          ReadPiece(*blob, at, std::min(kPartBytes, blob->size() - at)));
      QD_RETURN_IF_ERROR(copy.Append(std::as_bytes(std::span(piece.data(), piece.size()))));
    }
    return copy.Seal().status();
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    QD_ASSIGN_OR_RETURN(const S3Answer answer,
                        client_->Send({.method = "HEAD", .object = std::string(name)}));
    int64_t size = 0;
    const auto length = answer.headers.find("content-length");
    const auto tag = answer.headers.find("etag");
    if (length == answer.headers.end() || !absl::SimpleAtoi(length->second, &size) ||
        tag == answer.headers.end()) {
      return MakeError(Reason::kIo, "the object store does not tell size and tag of an object",
                       Violation{.where = std::string(name), .got = "", .wanted = ""});
    }
    return std::make_unique<S3File>(client_, std::string(name), size, tag->second);
  }

  absl::StatusOr<std::vector<std::string>> List(std::string_view prefix) const override {
    QD_RETURN_IF_ERROR(CheckBlobName(prefix));
    const std::string& own = client_->location().prefix;
    std::map<std::string, std::string> query = {{"list-type", "2"},
                                                {"prefix", absl::StrCat(own, ToAbsl(prefix), "/")}};
    std::vector<std::string> names;
    while (true) {
      QD_ASSIGN_OR_RETURN(const S3Answer answer, client_->Send({.method = "GET", .query = query}));
      pugi::xml_document document;
      QD_RETURN_IF_ERROR(ParseXml(answer, "ListBucketResult", document));
      const pugi::xml_node page = document.child("ListBucketResult");
      for (const pugi::xml_node object : page.children("Contents")) {
        names.push_back(std::string(object.child_value("Key")).substr(own.size()));
      }
      if (std::string_view(page.child_value("IsTruncated")) != "true") break;
      query["continuation-token"] = page.child_value("NextContinuationToken");
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status DeleteAll(std::string_view prefix) override {
    QD_ASSIGN_OR_RETURN(std::vector<std::string> names, List(prefix));
    names.emplace_back(prefix);  // it may be a blob itself
    for (const std::string& name : names) {
      const absl::Status status = client_->Send({.method = "DELETE", .object = name}).status();
      if (!status.ok() && ReasonOf(status) != Reason::kArtifactNotFound) return status;
    }
    return absl::OkStatus();
  }

 private:
  // The object is there, whole, once the last call has succeeded.
  absl::Status PutInParts(const std::string& object, const RandomAccessFile& file) {
    if (file.size() > kPartBytes * kMostParts) {
      return MakeError(Reason::kIo, "a file that is too large for the object store",
                       Violation{.where = object,
                                 .got = absl::StrCat(file.size(), " bytes"),
                                 .wanted = absl::StrCat("at most ", kPartBytes * kMostParts)});
    }
    QD_ASSIGN_OR_RETURN(
        const S3Answer begun,
        client_->Send({.method = "POST", .object = object, .query = {{"uploads", ""}}}));
    pugi::xml_document document;
    QD_RETURN_IF_ERROR(ParseXml(begun, "InitiateMultipartUploadResult", document));
    const std::string id = document.child("InitiateMultipartUploadResult").child_value("UploadId");
    const absl::Status put = PutParts(object, id, file);
    if (!put.ok()) {
      client_->Send({.method = "DELETE", .object = object, .query = {{"uploadId", id}}})
          .status()
          .IgnoreError();
    }
    return put;
  }

  absl::Status PutParts(const std::string& object, const std::string& id,
                        const RandomAccessFile& file) {
    std::string list = "<CompleteMultipartUpload>";
    int number = 0;
    for (int64_t at = 0; at < file.size(); at += kPartBytes) {
      QD_ASSIGN_OR_RETURN(const std::string body,
                          ReadPiece(file, at, std::min(kPartBytes, file.size() - at)));
      const std::string part = absl::StrCat(++number);
      QD_ASSIGN_OR_RETURN(const S3Answer answer,
                          client_->Send({.method = "PUT",
                                         .object = object,
                                         .query = {{"partNumber", part}, {"uploadId", id}},
                                         .body = body}));
      const auto tag = answer.headers.find("etag");
      absl::StrAppend(&list, "<Part><PartNumber>", part, "</PartNumber><ETag>",
                      tag == answer.headers.end() ? "" : tag->second, "</ETag></Part>");
    }
    list += "</CompleteMultipartUpload>";
    QD_ASSIGN_OR_RETURN(
        const S3Answer answer,
        client_->Send(
            {.method = "POST", .object = object, .query = {{"uploadId", id}}, .body = list}));
    // An error may come with a status of 200: the answer begins before the work is done.
    pugi::xml_document document;
    return ParseXml(answer, "CompleteMultipartUploadResult", document);
  }

  const std::shared_ptr<S3Client> client_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenS3BlobStore(const std::string& uri) {
  QD_ASSIGN_OR_RETURN(S3Location location, ParseS3Location(uri, [](const char* name) {
                        const char* value = std::getenv(name);
                        return std::string(value == nullptr ? "" : value);
                      }));
  auto client = std::make_shared<S3Client>(std::move(location));
  // A bucket that is not there, or not ours, is better known now.
  QD_RETURN_IF_ERROR(
      client->Send({.method = "GET", .query = {{"list-type", "2"}, {"max-keys", "1"}}}).status());
  return std::make_unique<S3BlobStore>(std::move(client));
}

}  // namespace quantd
