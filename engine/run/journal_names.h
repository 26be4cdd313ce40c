// Names of the files of a journal (journal.h), for all who write, look for or carry them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quantd {

inline constexpr std::string_view kFingerprintFile = "journal.json";
inline constexpr std::string_view kChoiceFile = "journal-recipe.json";  // engine/budget's
// Of a block or boundary: KIND-NNNNN and one of the endings. The record is written last.
inline constexpr std::string_view kBlockFiles = "block", kBoundaryFiles = "boundary";
inline constexpr std::string_view kRecordEnding = ".json", kTensorsEnding = ".safetensors",
                                  kRowsEnding = ".rows.safetensors";

// The number in the name of a record of that kind; nothing for another name.
std::optional<int64_t> NumberInRecord(std::string_view name, std::string_view kind);

}  // namespace quantd
