// The runner's journal (engine/run/journal.h) by the names of its files, for whoever carries one
// from machine to machine and does not read what is in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/run/journal_names.h"

namespace quantd {

// In the order in which they are of use.
enum class JournalPart { kFingerprint, kChoice, kBlock, kBoundary };

// The file that is written last, and those that are whole once it is there.
struct JournalRecord {
  JournalPart part = JournalPart::kFingerprint;
  int64_t number = 0;  // of the block
  std::string name = {};
  std::vector<std::string> files = {};
};

// The records among the names of a folder, by part and number. Files without a record are not told.
std::vector<JournalRecord> JournalRecordsAmong(const std::vector<std::string>& names);

// Whether `fingerprint`, the text of a fingerprint's file, is of this engine on such a machine.
// Whether it is of the same run is for the engine to say.
bool IsFingerprintOf(std::string_view fingerprint, std::string_view engine_version,
                     std::string_view isa);

}  // namespace quantd
