#include "base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

constexpr int64_t kMaxBytes = 64 << 10;
constexpr mode_t kOwnerOnly = 0600;

absl::Status WriteAll(int descriptor, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError("cannot write", path, errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(descriptor) != 0) return ErrnoError("cannot write", path, errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(std::string_view where, const std::string& path) {
  const auto refused = [&](std::string got) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = std::string(where),
                               .got = std::move(got),
                               .wanted = "a file with the secret and nothing else"});
  };
  const auto text = ReadFile(path, kMaxBytes);
  if (!text.ok()) return refused(std::string(text.status().message()));
  std::string secret(absl::StripAsciiWhitespace(*text));
  if (secret.empty()) return refused(path + ", which is empty");
  if (!IsSecretText(secret)) return refused(path + ", with spaces or lines in it");
  return secret;
}

bool IsSecretText(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
}

absl::Status WriteSecretFile(const std::string& path, std::string_view text) {
  const std::string temporary = absl::StrCat(path, ".", ::getpid(), ".new");
  ::unlink(temporary.c_str());
  const int descriptor =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly);
  if (descriptor < 0) return ErrnoError("cannot write", temporary, errno);
  absl::Cleanup remove = [&] { ::unlink(temporary.c_str()); };
  const absl::Status written = WriteAll(descriptor, temporary, text);
  ::close(descriptor);
  QD_RETURN_IF_ERROR(written);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoError("cannot write", path, errno);
  }
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::Status CheckPrivate(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return ErrnoError("cannot read", path, errno);
  const mode_t others = status.st_mode & 077;
  if (others == 0) return absl::OkStatus();
  return MakeError(Reason::kWrongState, "others may read a file of secrets",
                   Violation{.where = path,
                             .got = absl::StrFormat("mode %04o", status.st_mode & 07777),
                             .wanted = "mode 0600: chmod 600 " + path});
}

}  // namespace quantd
