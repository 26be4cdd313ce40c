#include "engine/gguf/gguf_parts.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr size_t kEndingLength = std::string_view("-00001-of-00003.gguf").size();

// What all parts of a split model have in common; empty: not a part's name.
std::string_view BaseOf(std::string_view name) {
  if (name.size() <= kEndingLength) return {};
  std::string shape(name.substr(name.size() - kEndingLength));
  for (char& c : shape) c = c >= '0' && c <= '9' ? '0' : c;
  return shape == "-00000-of-00000.gguf" ? name.substr(0, name.size() - kEndingLength)
                                         : std::string_view();
}

std::string NameOfPart(std::string_view base, int64_t index, int64_t count) {
  return absl::StrFormat("%s-%05d-of-%05d.gguf", std::string(base), index + 1, count);
}

// Nothing if the header cannot be read, which is a problem.
absl::StatusOr<std::optional<GgufPart>> Open(const ModelFiles& files, const std::string& name,
                                             const PartProblem& problem) {
  QD_ASSIGN_OR_RETURN(auto file, files.Open(name));
  absl::StatusOr<GgufHeader> header = ReadGgufHeader(*file);
  if (header.ok()) {
    return GgufPart{name, std::move(file), *std::move(header)};
  }
  const std::vector<Violation> wrong = ViolationsOf(header.status());
  if (wrong.empty()) return header.status();
  problem(wrong.front().where, absl::StrCat("damaged or cut short: ", wrong.front().got,
                                            ", wanted ", wrong.front().wanted));
  return std::nullopt;
}

// Whether a part is the one that its name says; problems if not.
bool IsPart(const GgufPart& part, int64_t index, int64_t count, const PartProblem& problem) {
  const int64_t own_index = part.header.Integer("split.no").value_or(-1);
  const int64_t own_count = part.header.Integer("split.count").value_or(-1);
  if (own_index == index && own_count == count) return true;
  const std::string own = own_count < 0 ? "a model of its own"
                                        : absl::StrCat("part ", own_index + 1, " of ", own_count);
  problem(part.name, absl::StrCat("says that it is ", own, ", wanted ", index + 1, " of ", count));
  return false;
}

void CheckTensorCount(const std::vector<GgufPart>& parts, const PartProblem& problem) {
  const std::optional<int64_t> wanted = parts.front().header.Integer("split.tensors.count");
  size_t tensors = 0;
  for (const GgufPart& part : parts) tensors += part.header.tensors.size();
  if (wanted.has_value() && static_cast<int64_t>(tensors) == *wanted) return;
  problem("split.tensors.count",
          absl::StrCat(wanted.value_or(0), ", the files have ", tensors, " tensors"));
}

}  // namespace

bool ArePartsOfOne(std::string_view a, std::string_view b) {
  return !BaseOf(a).empty() && BaseOf(a) == BaseOf(b) &&
         a.substr(a.size() - 10) == b.substr(b.size() - 10);  // of as many
}

std::string OnlyGguf(const ModelFiles& files) {
  const absl::StatusOr<std::vector<std::string>> names = files.List();
  std::string only;
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>{}) {
    if (name.ends_with(".safetensors")) return "";
    if (!name.ends_with(".gguf")) continue;
    if (!only.empty() && !ArePartsOfOne(only, name)) return "";
    if (only.empty()) only = name;
  }
  return only;
}

bool LooksLikeGguf(const ModelFiles& files, std::string_view name) {
  const auto opened = files.Open(name);
  if (!opened.ok()) return false;
  const RandomAccessFile& file = **opened;
  std::array<std::byte, 4> magic{};
  if (file.size() < 4 || !file.Read(0, magic).ok()) return false;
  return std::string_view(reinterpret_cast<const char*>(magic.data()), 4) == "GGUF";
}

absl::StatusOr<std::vector<GgufPart>> OpenGgufParts(const ModelFiles& files,
                                                    const std::string& name,
                                                    const PartProblem& problem) {
  std::vector<GgufPart> parts;
  QD_ASSIGN_OR_RETURN(std::optional<GgufPart> named, Open(files, name, problem));
  if (!named.has_value()) return parts;
  const int64_t count = named->header.Integer("split.count").value_or(1);
  const std::string base(BaseOf(named->name));
  if (count <= 1) {
    parts.push_back(*std::move(named));
    return parts;
  }
  if (base.empty()) {
    problem(named->name,
            absl::StrCat("a part of a model of ", count,
                         " files, which are found by their names: ", NameOfPart("NAME", 0, count)));
    parts.push_back(*std::move(named));
    return parts;
  }
  for (int64_t index = 0; index < count; ++index) {
    const std::string file = NameOfPart(base, index, count);
    if (!files.Has(file)) {
      problem(file, "missing: a part of the model");
      return parts;  // a count that lies would fill pages
    }
    QD_ASSIGN_OR_RETURN(std::optional<GgufPart> part, Open(files, file, problem));
    if (part.has_value() && IsPart(*part, index, count, problem)) {
      parts.push_back(*std::move(part));
    }
  }
  if (!parts.empty()) CheckTensorCount(parts, problem);
  return parts;
}

PlacedTensor FindTensor(std::span<const GgufPart> parts, std::string_view name) {
  for (const GgufPart& part : parts) {
    for (const GgufTensor& tensor : part.header.tensors) {
      if (tensor.name == name) return {&part, &tensor};
    }
  }
  return {};
}

GgufHeader WholeHeader(const std::vector<GgufPart>& parts) {
  GgufHeader whole = parts.front().header;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::vector<GgufTensor>& more = parts[i].header.tensors;
    whole.tensors.insert(whole.tensors.end(), more.begin(), more.end());
  }
  return whole;
}

}  // namespace quantd
