#include "worker/runner/journal_files.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/json.h"

namespace quantd {
namespace {

constexpr std::string_view kRecord = ".json";

std::optional<JournalRecord> RecordOf(const std::string& name) {
  if (name == "journal.json") return JournalRecord{.name = name};
  if (name == "journal-recipe.json") {
    return JournalRecord{.part = JournalPart::kChoice, .name = name};
  }
  for (const auto& [kind, part] :
       {std::pair("block-", JournalPart::kBlock), std::pair("boundary-", JournalPart::kBoundary)}) {
    absl::string_view text = name;
    JournalRecord record{.part = part, .name = name};
    if (absl::ConsumePrefix(&text, kind) && absl::ConsumeSuffix(&text, ToAbsl(kRecord)) &&
        absl::SimpleAtoi(text, &record.number)) {
      return record;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<JournalRecord> JournalRecordsAmong(const std::vector<std::string>& names) {
  std::vector<JournalRecord> records;
  for (const std::string& name : names) {
    auto record = RecordOf(name);
    if (!record.has_value()) continue;
    const std::string stem = name.substr(0, name.size() - kRecord.size());
    for (const std::string& file : {stem + ".safetensors", stem + ".rows.safetensors"}) {
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
  const auto record = ParseJson(std::string(fingerprint), "journal.json");
  if (!record.ok() || !record->is_object()) return false;
  const Json body = record->value("body", Json());
  return body.is_object() && body.value("engine", Json()) == Json(engine_version) &&
         body.value("isa", Json()) == Json(isa);
}

}  // namespace quantd
