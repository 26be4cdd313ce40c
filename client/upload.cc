#include "client/upload.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "base/random_access_file.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPieceBytes = int64_t{1} << 20;
// A file that changes under our hands is damaged at the server each time; so often it is sent anew.
constexpr int kMostDamaged = 3;

constexpr std::array<std::string_view, 8> kOtherWeights = {".bin",     ".pt",   ".pth", ".h5",
                                                           ".msgpack", ".onnx", ".ot",  ".ckpt"};

bool EndsWithAny(std::string_view name, std::span<const std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

bool IsWeights(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".gguf");
}

absl::StatusOr<LocalFile> FileAt(std::string name, const std::string& path) {
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
  return LocalFile{.name = std::move(name), .path = path, .bytes = file->size()};
}

// Calls `take` with each piece of the file from `offset` on.
absl::Status ForEachPiece(const RandomAccessFile& file, int64_t offset,
                          const std::function<absl::Status(std::string_view)>& take) {
  std::string piece;
  while (offset < file.size()) {
    piece.resize(static_cast<size_t>(std::min(kPieceBytes, file.size() - offset)));
    QD_RETURN_IF_ERROR(
        file.Read(offset, std::as_writable_bytes(std::span(piece.data(), piece.size()))));
    QD_RETURN_IF_ERROR(take(piece));
    offset += static_cast<int64_t>(piece.size());
  }
  return absl::OkStatus();
}

// One push: what is told of its progress, and where each file stands.
class Push {
 public:
  Push(Connection& connection, UploadOptions& options)
      : connection_(connection), options_(options) {
    for (const LocalFile& file : options_.files) progress_.total += file.bytes;
  }

  absl::StatusOr<PushedUpload> Run() {
    QD_RETURN_IF_ERROR(Digest());
    v1::Upload described;
    described.set_name(options_.name);
    for (const LocalFile& file : options_.files) {
      v1::UploadFile* told = described.add_files();
      told->set_path(file.name);
      told->set_bytes(file.bytes);
      told->set_sha256(file.sha256);
    }
    QD_ASSIGN_OR_RETURN(v1::Upload upload, connection_.CreateUpload(described));
    PushedUpload pushed{.upload = upload};
    if (upload.state() == v1::Upload::READY) return pushed;
    progress_.step = UploadProgress::Step::kSend;
    progress_.done = 0;
    for (const v1::UploadFile& file : upload.files()) progress_.done += file.committed_size();
    options_.on_progress(progress_);
    const int64_t before = progress_.done;
    for (const v1::UploadFile& file : upload.files()) {
      if (!file.complete()) QD_RETURN_IF_ERROR(Send(file));
    }
    pushed.bytes_sent = progress_.done - before;
    QD_ASSIGN_OR_RETURN(pushed.upload, connection_.CommitUpload(options_.name));
    return pushed;
  }

 private:
  absl::Status Digest() {
    for (LocalFile& file : options_.files) {
      QD_ASSIGN_OR_RETURN(const auto opened, RandomAccessFile::Open(file.path));
      Sha256 sha;
      QD_RETURN_IF_ERROR(ForEachPiece(*opened, 0, [&](std::string_view piece) {
        sha.Update(piece);
        return Advance(piece.size());
      }));
      file.bytes = opened->size();
      file.sha256 = sha.FinishHex();
    }
    return absl::OkStatus();
  }

  absl::Status Advance(size_t bytes) {
    if (connection_.cancellation().cancelled()) {
      return MakeError(Reason::kCancelled, "interrupted");
    }
    progress_.done += static_cast<int64_t>(bytes);
    options_.on_progress(progress_);
    return absl::OkStatus();
  }

  // Until the server says that the file is complete.
  absl::Status Send(v1::UploadFile file) {
    const auto local = std::find_if(options_.files.begin(), options_.files.end(),
                                    [&](const auto& known) { return known.name == file.path(); });
    Backoff backoff(options_.retry, RandomSeed());
    int damaged = 0;
    while (!file.complete()) {
      const int64_t before = progress_.done;
      auto sent = SendFrom(*local, file.committed_size());
      if (sent.ok()) {
        file = *std::move(sent);
        continue;
      }
      const bool again = ReasonOf(sent.status()) == Reason::kUploadCorrupt;
      if (again ? ++damaged == kMostDamaged : !IsTransient(sent.status())) return sent.status();
      if (progress_.done > before) backoff.Reset();
      const auto wait = backoff.Next();
      if (!wait.has_value()) return sent.status();
      if (!connection_.cancellation().Sleep(*wait)) {
        return MakeError(Reason::kCancelled, "interrupted");
      }
      QD_ASSIGN_OR_RETURN(file, LookAgain(file));
    }
    return absl::OkStatus();
  }

  // Where the server stands after a call that broke.
  absl::StatusOr<v1::UploadFile> LookAgain(const v1::UploadFile& file) {
    QD_ASSIGN_OR_RETURN(const v1::Upload upload, connection_.GetUpload(options_.name));
    progress_.done = 0;
    std::optional<v1::UploadFile> found;
    for (const v1::UploadFile& now : upload.files()) {
      progress_.done += now.committed_size();
      if (now.path() == file.path()) found = now;
    }
    options_.on_progress(progress_);
    if (found.has_value()) return *std::move(found);
    return MakeError(Reason::kUploadNotFound, "the upload has changed while it was sent");
  }

  absl::StatusOr<v1::UploadFile> SendFrom(const LocalFile& local, int64_t offset) {
    QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(local.path));
    bool first = true;
    std::string piece;
    return connection_.StreamUpload(
        [&](v1::WriteUploadFileRequest& message) -> absl::StatusOr<bool> {
          // Even nothing is said once: a file that is whole but not checked needs a call.
          if (offset >= file->size() && !first) return false;
          if (first) {
            message.set_name(options_.name);
            message.set_path(local.name);
          }
          first = false;
          piece.resize(
              static_cast<size_t>(std::clamp<int64_t>(file->size() - offset, 0, kPieceBytes)));
          QD_RETURN_IF_ERROR(
              file->Read(offset, std::as_writable_bytes(std::span(piece.data(), piece.size()))));
          message.set_offset(offset);
          message.set_crc32c(Crc32c(piece));
          QD_RETURN_IF_ERROR(Advance(piece.size()));
          offset += static_cast<int64_t>(piece.size());
          message.set_data(piece);
          return true;
        });
  }

  Connection& connection_;
  UploadOptions& options_;
  UploadProgress progress_;
};

}  // namespace

absl::StatusOr<std::vector<LocalFile>> ModelFilesToSend(const std::string& path,
                                                        std::vector<std::string>& left_out) {
  if (!IsFolder(path)) {
    if (!path.ends_with(".gguf")) {
      return MakeError(Reason::kModelNotFound, "there is no model to send",
                       Violation{.where = path,
                                 .got = PathExists(path) ? "a file" : "nothing",
                                 .wanted = "a model folder, or a .gguf file"});
    }
    QD_ASSIGN_OR_RETURN(LocalFile file, FileAt(fs::path(path).filename().string(), path));
    return std::vector<LocalFile>{std::move(file)};
  }
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(path));
  const bool has_weights = std::any_of(names.begin(), names.end(), IsWeights);
  std::vector<LocalFile> files;
  for (const std::string& name : names) {
    const std::string place = absl::StrCat(path, "/", name);
    const bool wanted = !name.starts_with(".") && !IsFolder(place) &&
                        !(has_weights && EndsWithAny(name, kOtherWeights));
    if (!wanted) {
      left_out.push_back(name);
      continue;
    }
    QD_ASSIGN_OR_RETURN(LocalFile file, FileAt(name, place));
    if (file.bytes == 0) {
      left_out.push_back(name);
    } else {
      files.push_back(std::move(file));
    }
  }
  if (!files.empty()) return files;
  return MakeError(Reason::kModelNotFound, "there is no model to send",
                   Violation{.where = path, .got = "no files", .wanted = "a model folder"});
}

absl::StatusOr<std::vector<LocalFile>> DatasetFileToSend(const std::string& path) {
  if (!PathExists(path) || IsFolder(path)) {
    return MakeError(Reason::kDatasetInvalid, "there is no dataset to send",
                     Violation{.where = path,
                               .got = IsFolder(path) ? "a folder" : "nothing",
                               .wanted = "a text, JSONL, JSON or CSV file"});
  }
  QD_ASSIGN_OR_RETURN(LocalFile file, FileAt(fs::path(path).filename().string(), path));
  return std::vector<LocalFile>{std::move(file)};
}

absl::StatusOr<PushedUpload> PushUpload(Connection& connection, UploadOptions options) {
  return Push(connection, options).Run();
}

}  // namespace quantd
