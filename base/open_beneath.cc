#include "base/open_beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

constexpr int kMostLinks = 40;  // as the kernel has it

absl::Status Outside(const std::string& path, const std::string& wanted) {
  return MakeError(Reason::kModelOutsideRoots, "refused",
                   Violation{.where = path, .got = "something outside", .wanted = wanted});
}

std::optional<std::string> Below(const std::string& path, const std::string& root) {
  if (path == root) return "";
  const std::string prefix = root.ends_with('/') ? root : root + "/";
  if (!path.starts_with(prefix)) return std::nullopt;
  return path.substr(prefix.size());
}

std::vector<std::string> PartsOf(const std::string& path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

// Component by component: no call ever follows a link by itself, so nothing can be put between the
// check of a link and its use.
class Walk {
 public:
  Walk(const std::string& root, std::string path) : root_(root), path_(std::move(path)) {}

  absl::StatusOr<Descriptor> Run() {
    Descriptor root(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (root.get() < 0) return ErrnoError("cannot open folder", root_, errno);
    folders_.push_back(std::move(root));
    for (std::string& part : PartsOf(path_)) parts_.push_back(std::move(part));
    while (!parts_.empty()) {
      const std::string part = std::move(parts_.front());
      parts_.pop_front();
      if (part == ".") continue;
      if (part == "..") {
        if (folders_.size() == 1) return Outside(path_, "a path below " + root_);
        folders_.pop_back();
        continue;
      }
      QD_ASSIGN_OR_RETURN(std::optional<Descriptor> file, Step(part));
      if (file.has_value()) return *std::move(file);
    }
    return std::move(folders_.back());
  }

 private:
  // The file, if this was the last step and led to one.
  absl::StatusOr<std::optional<Descriptor>> Step(const std::string& part) {
    Descriptor next(::openat(folders_.back().get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status{};
    if (next.get() < 0 || ::fstat(next.get(), &status) != 0) {
      return ErrnoError("cannot open", path_, errno);
    }
    if (S_ISLNK(status.st_mode)) {
      QD_RETURN_IF_ERROR(FollowLink(next));
      return std::optional<Descriptor>();
    }
    if (S_ISDIR(status.st_mode)) {
      folders_.push_back(std::move(next));
      return std::optional<Descriptor>();
    }
    if (!parts_.empty()) return ErrnoError("cannot open", path_, ENOTDIR);
    return std::optional<Descriptor>(std::move(next));
  }

  absl::Status FollowLink(const Descriptor& link) {
    if (++links_ > kMostLinks) return ErrnoError("cannot open", path_, ELOOP);
    std::array<char, PATH_MAX> buffer{};
    const ssize_t length = ::readlinkat(link.get(), "", buffer.data(), buffer.size());
    if (length < 0) return ErrnoError("cannot read the link", path_, errno);
    std::string target(buffer.data(), static_cast<size_t>(length));
    if (target.starts_with('/')) {
      const auto below = Below(target, root_);
      if (!below.has_value()) return Outside(path_, "a path below " + root_);
      target = *below;
      while (folders_.size() > 1) folders_.pop_back();
    }
    std::vector<std::string> parts = PartsOf(target);
    parts_.insert(parts_.begin(), std::make_move_iterator(parts.begin()),
                  std::make_move_iterator(parts.end()));
    return absl::OkStatus();
  }

  const std::string& root_;
  const std::string path_;
  std::vector<Descriptor> folders_;  // from the root to where we are, none of them a link
  std::deque<std::string> parts_;    // still to go
  int links_ = 0;
};

// Nothing: this kernel cannot say; component by component can.
std::optional<Descriptor> AskKernel(const std::string& root, const std::string& path) {
  const Descriptor folder(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return std::nullopt;
  struct open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long opened =
      ::syscall(SYS_openat2, folder.get(), path.empty() ? "." : path.c_str(), &how, sizeof how);
  if (opened < 0) return std::nullopt;
  return Descriptor(static_cast<int>(opened));
}

// For reading, what was only found so far: the very same file.
absl::StatusOr<Descriptor> OpenFound(const Descriptor& found, const std::string& path) {
  struct stat status{};
  if (::fstat(found.get(), &status) != 0) return ErrnoError("cannot stat", path, errno);
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    return MakeError(Reason::kModelOutsideRoots, "refused",
                     Violation{.where = path,
                               .got = "neither a file nor a folder",
                               .wanted = "a regular file or a folder"});
  }
  const std::string same = absl::StrCat("/proc/self/fd/", found.get());
  Descriptor opened(::open(same.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (opened.get() < 0) return ErrnoError("cannot open", path, errno);
  return opened;
}

}  // namespace

absl::StatusOr<Descriptor> OpenBeneath(const std::string& root, const std::string& path,
                                       OpenBeneathOptions options) {
  std::string relative = path;
  if (path.starts_with('/')) {
    const auto below = Below(path, root);
    if (!below.has_value()) return Outside(path, "a path below " + root);
    relative = *below;
  }
  if (options.ask_kernel) {
    if (const auto found = AskKernel(root, relative)) return OpenFound(*found, path);
  }
  QD_ASSIGN_OR_RETURN(const Descriptor found, Walk(root, relative).Run());
  return OpenFound(found, path);
}

absl::StatusOr<Descriptor> OpenAllowed(std::span<const std::string> roots,
                                       const std::string& path) {
  // Which root it is may be found out the easy way: whoever changes a link after this meets the
  // check of OpenBeneath.
  const auto resolved = RealPath(path);
  if (resolved.ok()) {
    for (const std::string& root : roots) {
      if (Below(*resolved, root).has_value()) return OpenBeneath(root, *resolved);
    }
  }
  return Outside(path, "a path below " + absl::StrJoin(roots, " or "));
}

}  // namespace quantd
