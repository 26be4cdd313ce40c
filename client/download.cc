#include "client/download.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// What has been received of one file, and whether the next chunk belongs behind it.
class Assembly {
 public:
  Assembly(const ReadOptions& options,
           const std::function<absl::Status(std::string_view bytes)>& sink)
      : options_(options), sink_(sink) {}

  int64_t offset() const { return offset_; }
  bool started() const { return file_.has_value(); }
  bool complete() const { return file_.has_value() && offset_ == file_->bytes(); }
  // The error of the sink, or of a file that cannot be put right by asking again.
  const absl::Status& fatal() const { return fatal_; }

  absl::Status Take(const v1::ArtifactChunk& chunk) {
    if (chunk.has_file() && !TakeFile(chunk.file())) return fatal_;
    if (!file_.has_value() || chunk.offset() != offset_) {
      return Broken(absl::StrCat("a chunk begins at ", chunk.offset(), " and not at ", offset_));
    }
    if (Crc32c(chunk.data()) != chunk.crc32c()) {
      return Broken(absl::StrCat("the chunk at ", offset_, " has another crc32c than it says"));
    }
    const auto size = static_cast<int64_t>(chunk.data().size());
    if (size > file_->bytes() - offset_) {
      return Broken(absl::StrCat("more bytes than the file's ", file_->bytes()));
    }
    sha_.Update(chunk.data());
    fatal_ = sink_(chunk.data());
    offset_ += size;
    return fatal_;
  }

  absl::StatusOr<v1::ArtifactFile> Finish() {
    const std::string sha256 = sha_.FinishHex();
    if (sha256 != file_->sha256()) return Corrupt("sha256 " + sha256, file_->sha256());
    return *file_;
  }

 private:
  bool TakeFile(const v1::ArtifactFile& file) {
    if (!file_.has_value()) {
      file_ = file;
    } else if (file.sha256() != file_->sha256() || file.bytes() != file_->bytes()) {
      fatal_ = Corrupt("another file after the connection broke: sha256 " + file.sha256(),
                       file_->sha256());
    }
    return fatal_.ok();
  }
  absl::Status Corrupt(std::string got, std::string wanted) const {
    return absl::DataLossError(absl::StrCat("the file was damaged on its way: ", options_.job, " ",
                                            options_.path, ": got ", got, ", wanted ", wanted));
  }
  // Such a stream is thrown away and asked for again from the offset reached.
  absl::Status Broken(std::string what) const {
    return MakeError(Reason::kUnavailable, absl::StrCat(options_.path, ": ", what));
  }

  const ReadOptions& options_;
  const std::function<absl::Status(std::string_view bytes)>& sink_;
  std::optional<v1::ArtifactFile> file_;
  int64_t offset_ = 0;
  Sha256 sha_;
  absl::Status fatal_;
};

}  // namespace

absl::StatusOr<v1::ArtifactFile> ReadArtifactFile(
    Connection& connection, const ReadOptions& options,
    const std::function<absl::Status(std::string_view bytes)>& sink) {
  Backoff backoff(options.retry, RandomSeed());
  Assembly assembly(options, sink);
  while (true) {
    v1::ReadArtifactFileRequest request;
    request.set_job(options.job);
    request.set_path(options.path);
    request.set_offset(assembly.offset());
    const int64_t before = assembly.offset();
    absl::Status status = connection.StreamFile(
        request, [&](const v1::ArtifactChunk& chunk) { return assembly.Take(chunk); });
    if (!assembly.fatal().ok()) return assembly.fatal();
    if (assembly.complete()) return assembly.Finish();
    if (status.ok()) status = MakeError(Reason::kUnavailable, "the server ended the stream");
    if (!IsTransient(status)) return status;
    if (assembly.offset() > before) backoff.Reset();
    const auto wait = backoff.Next();
    if (!wait.has_value()) return status;
    if (!connection.cancellation().Sleep(*wait)) {
      return MakeError(Reason::kCancelled, "interrupted");
    }
  }
}

absl::StatusOr<std::string> ReadArtifactText(Connection& connection, const ReadOptions& options,
                                             int64_t max_bytes) {
  std::string text;
  QD_RETURN_IF_ERROR(ReadArtifactFile(connection, options, [&](std::string_view bytes) {
                       if (static_cast<int64_t>(text.size() + bytes.size()) > max_bytes) {
                         return absl::DataLossError(
                             absl::StrCat(options.path, " is larger than ", max_bytes, " bytes"));
                       }
                       text.append(bytes);
                       return absl::OkStatus();
                     }).status());
  return text;
}

absl::Status CheckArtifactPath(std::string_view path) {
  const auto refuse = [&](std::string_view wanted) {
    return MakeError(
        Reason::kInvalidField, "the server named a file that cannot be written",
        Violation{.where = "path", .got = std::string(path), .wanted = std::string(wanted)});
  };
  if (std::any_of(path.begin(), path.end(),
                  [](unsigned char c) { return std::iscntrl(c) != 0 || c == '\\'; })) {
    return refuse("no control characters and no backslash");
  }
  for (const absl::string_view part : absl::StrSplit(ToAbsl(path), '/')) {
    if (part.empty() || part == "." || part == "..") {
      return refuse("a relative path without empty, \".\" or \"..\" parts");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> HasFile(const std::string& folder, const v1::ArtifactFile& file) {
  QD_RETURN_IF_ERROR(CheckArtifactPath(file.path()));
  const std::string path = absl::StrCat(folder, "/", file.path());
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  if (static_cast<int64_t>(std::filesystem::file_size(path, error)) != file.bytes()) return false;
  QD_ASSIGN_OR_RETURN(const auto present, RandomAccessFile::Open(path));
  QD_ASSIGN_OR_RETURN(const std::string digest, DigestOf(*present));
  return digest == file.sha256();
}

absl::StatusOr<DownloadOutcome> DownloadFile(Connection& connection,
                                             const DownloadOptions& options) {
  QD_ASSIGN_OR_RETURN(const bool there, HasFile(options.folder, options.file));
  if (there) return DownloadOutcome::kAlreadyThere;
  const std::string path = absl::StrCat(options.folder, "/", options.file.path());
  QD_RETURN_IF_ERROR(MakeFolders(std::filesystem::path(path).parent_path().string()));
  QD_ASSIGN_OR_RETURN(AtomicFile target, AtomicFile::Create(path));
  const ReadOptions read = {
      .job = options.job, .path = options.file.path(), .retry = options.retry};
  QD_ASSIGN_OR_RETURN(const v1::ArtifactFile got,
                      ReadArtifactFile(connection, read, [&](std::string_view bytes) {
                        return target.Append(BytesOf(bytes));
                      }));
  if (got.sha256() != options.file.sha256()) {
    return absl::DataLossError(
        absl::StrCat("the server's file is not the one that it announced: ", options.file.path(),
                     ": got sha256 ", got.sha256(), ", wanted ", options.file.sha256()));
  }
  QD_RETURN_IF_ERROR(target.Seal().status());
  return DownloadOutcome::kFetched;
}

}  // namespace quantd
