#include "engine/tensor/model_files.h"

#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {

std::string ModelFiles::title() const {
  const std::filesystem::path last = (std::filesystem::path(location()) / "").parent_path();
  return (last.extension() == ".gguf" ? last.stem() : last.filename()).string();
}

std::string ModelFiles::Where(std::string_view name) const {
  return absl::StrCat(location(), "/", ToAbsl(name));
}

absl::StatusOr<std::string> ModelFiles::ReadText(std::string_view name, int64_t max_bytes) const {
  QD_ASSIGN_OR_RETURN(const auto file, Open(name));
  return ReadFile(*file, max_bytes);
}

absl::StatusOr<SealedFile> ModelFiles::CopyTo(std::string_view name,
                                              const std::string& path) const {
  QD_ASSIGN_OR_RETURN(const auto file, Open(name));
  return CopyFileAtomic(*file, path);
}

absl::StatusOr<std::string> ModelFiles::Digest(std::string_view name) const {
  QD_ASSIGN_OR_RETURN(const auto file, Open(name));
  return DigestOf(*file);
}

absl::Status ModelFiles::NoSuchFile(std::string_view name) const {
  return MakeError(
      Reason::kModelCorrupt, "cannot open a file of the model",
      Violation{.where = Where(name), .got = "no such file", .wanted = "a file that can be read"});
}

absl::Status ModelFiles::CheckName(std::string_view name) const {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
  if (plain) return absl::OkStatus();
  return MakeError(Reason::kModelCorrupt, "cannot open a file of the model",
                   Violation{.where = location(),
                             .got = absl::Utf8SafeCEscape(ToAbsl(name.substr(0, 200))),
                             .wanted = "a plain file name"});
}

}  // namespace quantd
