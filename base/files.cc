#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/file_faults.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

// Linux moves at most this many bytes a call (read(2)).
constexpr size_t kMaxTransfer = 0x7ffff000;

absl::Status WriteFully(int descriptor, const std::string& path, int64_t offset,
                        std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const int64_t written = FileWrite(descriptor, path, bytes, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoError("cannot write", path, errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status ReadFully(int descriptor, const std::string& path, int64_t offset,
                       std::span<std::byte> out) {
  const int64_t start = offset;
  const size_t wanted = out.size();
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor, out.data(), std::min(out.size(), kMaxTransfer), offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoError("cannot read", path, errno);
    }
    if (got == 0) {
      return MakeError(Reason::kModelCorrupt, "file is cut short",
                       Violation{.where = path,
                                 .got = absl::StrCat("end of file at byte ", offset),
                                 .wanted = absl::StrCat(wanted, " bytes at ", start)});
    }
    out = out.subspan(static_cast<size_t>(got));
    offset += got;
  }
  return absl::OkStatus();
}

class LocalFile : public RandomAccessFile {
 public:
  LocalFile(std::string name, int descriptor, int64_t size)
      : name_(std::move(name)), descriptor_(descriptor), size_(size) {}
  ~LocalFile() override { ::close(descriptor_); }
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    return ReadFully(descriptor_, name_, offset, out);
  }
  int64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }

 private:
  const std::string name_;
  const int descriptor_;
  const int64_t size_;
};

// Shows `take` the file from its beginning, a piece at a time.
template <typename Take>
absl::Status ForEachPiece(const RandomAccessFile& file, const Take& take) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<std::byte> piece(static_cast<size_t>(std::min(kPiece, file.size())));
  for (int64_t offset = 0; offset < file.size(); offset += kPiece) {
    const auto part =
        std::span(piece).first(static_cast<size_t>(std::min(kPiece, file.size() - offset)));
    QD_RETURN_IF_ERROR(file.Read(offset, part));
    QD_RETURN_IF_ERROR(take(part));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RandomAccessFile>> RandomAccessFile::Open(const std::string& path) {
  // Without waiting: a pipe is refused, not waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return ErrnoError("cannot open", path, errno);
  return FromDescriptor(descriptor, path);
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> RandomAccessFile::FromDescriptor(
    int descriptor, std::string name) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return MakeError(
        Reason::kModelCorrupt, "cannot read",
        Violation{.where = std::move(name), .got = "not a regular file", .wanted = "a file"});
  }
  return std::make_unique<LocalFile>(std::move(name), descriptor, status.st_size);
}

AtomicFile::AtomicFile(std::string path, std::string temporary, int descriptor,
                       Durability durability)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      descriptor_(descriptor),
      durability_(durability) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  FileRemove(temporary_);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      end_(other.end_),
      durability_(other.durability_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(end_, other.end_);
  std::swap(durability_, other.durability_);
  return *this;
}

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path, Durability durability) {
  const std::string temporary = absl::StrCat(path, ".partial-", ::getpid());
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return ErrnoError("cannot create", temporary, errno);
  return AtomicFile(path, temporary, descriptor, durability);
}

absl::Status AtomicFile::Append(std::span<const std::byte> bytes) {
  QD_RETURN_IF_ERROR(WriteFully(descriptor_, temporary_, end_, bytes));
  end_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

void AtomicFile::StartWriteback(int64_t offset, int64_t count) const {
  if (durability_ != Durability::kSync) return;
  ::sync_file_range(descriptor_, offset, count, SYNC_FILE_RANGE_WRITE);
}

absl::Status AtomicFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  return WriteFully(descriptor_, temporary_, offset, bytes);
}

absl::Status AtomicFile::ReadAt(int64_t offset, std::span<std::byte> out) const {
  return ReadFully(descriptor_, temporary_, offset, out);
}

absl::StatusOr<SealedFile> AtomicFile::Seal() {
  struct stat status{};
  const bool sync = durability_ == Durability::kSync;
  if (sync && FileSync(descriptor_, temporary_) != 0)
    return ErrnoError("cannot sync", temporary_, errno);
  if (::fstat(descriptor_, &status) != 0) return ErrnoError("cannot stat", temporary_, errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    return ErrnoError("cannot close", temporary_, errno);
  }
  if (FileRename(temporary_, path_) != 0) {
    const int error_number = errno;
    FileRemove(temporary_);
    return ErrnoError("cannot rename", temporary_, error_number);
  }
  if (sync) QD_RETURN_IF_ERROR(SyncFolder(ParentOf(path_)));
  return SealedFile{.path = path_, .bytes = status.st_size, .sha256 = ""};
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
  return ReadFile(*file, max_bytes);
}

absl::StatusOr<std::string> ReadFile(const RandomAccessFile& file, int64_t max_bytes) {
  if (file.size() > max_bytes) {
    return MakeError(Reason::kModelCorrupt, "file is too large",
                     Violation{.where = file.name(),
                               .got = absl::StrCat(file.size(), " bytes"),
                               .wanted = absl::StrCat("at most ", max_bytes)});
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  QD_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
  return text;
}

absl::StatusOr<std::string> DigestOf(const RandomAccessFile& file) {
  Sha256 sha;
  QD_RETURN_IF_ERROR(ForEachPiece(file, [&](std::span<const std::byte> piece) {
    sha.Update(piece);
    return absl::OkStatus();
  }));
  return sha.FinishHex();
}

absl::StatusOr<SealedFile> WriteFileAtomic(const std::string& path, std::string_view text) {
  QD_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  QD_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(text.data(), text.size()))));
  QD_ASSIGN_OR_RETURN(SealedFile sealed, file.Seal());
  sealed.sha256 = Sha256Hex(text);
  return sealed;
}

absl::StatusOr<SealedFile> CopyFileAtomic(const std::string& from, const std::string& to,
                                          Durability durability) {
  QD_ASSIGN_OR_RETURN(const auto source, RandomAccessFile::Open(from));
  return CopyFileAtomic(*source, to, durability);
}

absl::StatusOr<SealedFile> CopyFileAtomic(const RandomAccessFile& from, const std::string& to,
                                          Durability durability) {
  QD_ASSIGN_OR_RETURN(AtomicFile target, AtomicFile::Create(to, durability));
  Sha256 sha;
  QD_RETURN_IF_ERROR(ForEachPiece(from, [&](std::span<const std::byte> piece) {
    sha.Update(piece);
    return target.Append(piece);
  }));
  QD_ASSIGN_OR_RETURN(SealedFile sealed, target.Seal());
  sealed.sha256 = sha.FinishHex();
  return sealed;
}

absl::Status MakeFolders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return ErrnoError("cannot create folder", path, error.value());
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return ErrnoError("cannot remove", path, error.value());
  return absl::OkStatus();
}

bool PathExists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool IsFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entry(path, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return ErrnoError("cannot list folder", path, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::string> RealPath(const std::string& path) {
  std::error_code error;
  fs::path resolved = fs::canonical(path, error);
  if (error) return ErrnoError("cannot resolve", path, error.value());
  return resolved.string();
}

absl::StatusOr<bool> IsBelow(const std::string& path, const std::string& root) {
  QD_ASSIGN_OR_RETURN(const std::string real_path, RealPath(path));
  QD_ASSIGN_OR_RETURN(const std::string real_root, RealPath(root));
  if (real_root == "/" || real_path == real_root) return true;
  return real_path.starts_with(real_root + "/");
}

absl::StatusOr<int64_t> FreeBytes(const std::string& path) {
  struct statvfs status{};
  if (::statvfs(path.c_str(), &status) != 0) return ErrnoError("cannot statvfs", path, errno);
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

TemporaryFolder::~TemporaryFolder() {
  if (!path_.empty()) RemoveTree(path_).IgnoreError();
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TemporaryFolder& TemporaryFolder::operator=(TemporaryFolder&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

absl::StatusOr<TemporaryFolder> TemporaryFolder::Create(std::string_view prefix) {
  const char* parent = std::getenv("TMPDIR");
  std::string pattern = absl::StrCat(parent != nullptr && *parent != '\0' ? parent : "/tmp", "/",
                                     ToAbsl(prefix), "-XXXXXX");
  if (::mkdtemp(pattern.data()) == nullptr) {
    return ErrnoError("cannot create folder", pattern, errno);
  }
  return TemporaryFolder(pattern);
}

}  // namespace quantd
