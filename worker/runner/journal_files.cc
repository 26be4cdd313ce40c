#include "worker/runner/journal_files.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "base/json.h"

namespace quantd {
namespace {

std::optional<JournalRecord> RecordOf(const std::string& name) {
  if (name == kFingerprintFile) return JournalRecord{.name = name};
  if (name == kChoiceFile) return JournalRecord{.part = JournalPart::kChoice, .name = name};
  for (const auto& [kind, part] : {std::pair(kBlockFiles, JournalPart::kBlock),
                                   std::pair(kBoundaryFiles, JournalPart::kBoundary)}) {
    const auto number = NumberInRecord(name, kind);
    if (number.has_value()) return JournalRecord{.part = part, .number = *number, .name = name};
  }
  return std::nullopt;
}

}  // namespace

std::vector<JournalRecord> JournalRecordsAmong(const std::vector<std::string>& names) {
  std::vector<JournalRecord> records;
  for (const std::string& name : names) {
    auto record = RecordOf(name);
    if (!record.has_value()) continue;
    const std::string stem = name.substr(0, name.size() - kRecordEnding.size());
    for (const std::string_view ending : {kTensorsEnding, kRowsEnding}) {
      const std::string file = stem + std::string(ending);
      if (std::find(names.begin(), names.end(), file) != names.end()) record->files.push_back(file);
    }
    records.push_back(*std::move(record));
  }
  std::sort(records.begin(), records.end(), [](const JournalRecord& a, const JournalRecord& b) {
    return std::tie(a.part, a.number, a.name) < std::tie(b.part, b.number, b.name);
  });
  return records;
}

bool IsFingerprintOf(std::string_view fingerprint, std::string_view engine_version,
                     std::string_view isa) {
  const auto record = ParseJson(std::string(fingerprint), kFingerprintFile);
  if (!record.ok() || !record->is_object()) return false;
  const Json body = record->value("body", Json());
  return body.is_object() && body.value("engine", Json()) == Json(engine_version) &&
         body.value("isa", Json()) == Json(isa);
}

}  // namespace quantd
