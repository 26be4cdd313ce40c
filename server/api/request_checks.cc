#include "server/api/request_checks.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "proto/field_checks.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr size_t kPathCharacters = 4096;

bool IsLabelKey(std::string_view text, int limit) {
  const auto allowed = [](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  };
  return !text.empty() && text.size() <= static_cast<size_t>(limit) &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool IsLabelValue(std::string_view text, int limit) {
  return text.empty() || IsLabelKey(absl::AsciiStrToLower(ToAbsl(text)), limit);
}

bool IsAtOrBelow(const std::string& path, const std::string& root) {
  return path == root || path.starts_with(root.ends_with('/') ? root : root + "/");
}

}  // namespace

absl::StatusOr<std::string> IdFromName(std::string_view collection, std::string_view name,
                                       std::string_view field) {
  const std::string_view id = name.substr(std::min(name.size(), collection.size()));
  if (name.starts_with(collection) && IsId(id)) return std::string(id);
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = std::string(field),
                             .got = absl::StrCat("\"", ToAbsl(name.substr(0, 100)), "\""),
                             .wanted = absl::StrCat(ToAbsl(collection), "{id}")});
}

absl::StatusOr<std::string> JobIdFromName(std::string_view name, std::string_view field) {
  return IdFromName("jobs/", name, field);
}

absl::Status CheckRequestId(std::string_view request_id) {
  constexpr std::string_view kForm = "00000000-0000-0000-0000-000000000000";
  bool good = request_id.size() == kForm.size();
  for (size_t i = 0; good && i < kForm.size(); ++i) {
    const auto c = static_cast<unsigned char>(request_id[i]);
    good = kForm[i] == '-' ? c == '-' : absl::ascii_isxdigit(c);
  }
  if (good) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "request_id",
                             .got = absl::StrCat("\"", ToAbsl(request_id.substr(0, 64)), "\""),
                             .wanted = "a UUID"});
}

absl::StatusOr<std::map<std::string, std::string>> CheckLabels(
    const google::protobuf::Map<std::string, std::string>& labels, const Limits& limits) {
  FieldChecks checks("job.labels");
  if (labels.size() > static_cast<size_t>(limits.labels)) {
    checks.Wrong("", absl::StrCat(labels.size(), " labels"),
                 absl::StrCat("at most ", limits.labels));
  }
  std::map<std::string, std::string> checked;
  for (const auto& [key, value] : labels) {
    if (!IsLabelKey(key, limits.label_characters)) {
      checks.Wrong(key.substr(0, 80), "this key",
                   absl::StrCat("1 to ", limits.label_characters, " of [a-z0-9_.-]"));
    }
    if (!IsLabelValue(value, limits.label_characters)) {
      checks.Wrong(key.substr(0, 80), absl::StrCat("\"", value.substr(0, 80), "\""),
                   absl::StrCat("at most ", limits.label_characters, " of [A-Za-z0-9_.-]"));
    }
    checked[key] = value;
  }
  QD_RETURN_IF_ERROR(checks.Finish());
  return checked;
}

absl::StatusOr<int> PageSize(int32_t asked, int fallback, int most) {
  if (asked < 0) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "page_size",
                               .got = absl::StrCat(asked),
                               .wanted = absl::StrCat("0 to ", most)});
  }
  return asked == 0 ? fallback : std::min(asked, most);
}

absl::StatusOr<std::string> ResolveAllowedPath(std::string_view field, const std::string& path,
                                               std::span<const std::string> roots, Reason missing) {
  const auto error = [&](Reason reason, std::string wanted) {
    return MakeError(
        reason, "refused",
        Violation{
            .where = std::string(field), .got = path.substr(0, 200), .wanted = std::move(wanted)});
  };
  if (path.empty() || path.front() != '/' || path.size() > kPathCharacters ||
      path.find('\0') != std::string::npos) {
    return error(Reason::kInvalidField, "an absolute path on the server's machine");
  }
  const std::string allowed =
      roots.empty() ? "a server that allows folders: start quantd with --model-root FOLDER"
                    : "a path below " + absl::StrJoin(roots, " or ") +
                          " (the operator allows more with --model-root)";
  const auto below = [&](const std::string& resolved) {
    return std::any_of(roots.begin(), roots.end(),
                       [&](const std::string& root) { return IsAtOrBelow(resolved, root); });
  };
  const auto resolved = RealPath(path);
  if (resolved.ok() && below(*resolved)) return *resolved;
  // Whether something exists outside the roots is nobody's business.
  const std::string normal = std::filesystem::path(path).lexically_normal().string();
  if (!resolved.ok() && below(normal)) return error(missing, "something that exists");
  return error(Reason::kModelOutsideRoots, allowed);
}

}  // namespace quantd
