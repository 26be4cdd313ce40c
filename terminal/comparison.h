// Results of several quantizations side by side, and which of them are the best for their size.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/types/report.h"

namespace quantd {

struct ComparedResult {
  std::string name;  // "jobs/ID", or a folder
  Report report;
  bool on_frontier = false;
};

// Sorts by bits per weight, then by mean KL, and marks the size-accuracy frontier: results that no
// other beats in one of the two without losing in the other. What was not evaluated is not on it.
void MarkFrontier(std::vector<ComparedResult>& results);

// Why the figures cannot be compared, one line each: other models, other evaluation texts.
std::vector<std::string> Incomparable(std::span<const ComparedResult> results);

// At most `columns` wide; 0: as wide as it needs to be. "*" marks the frontier.
std::string ComparisonTable(std::span<const ComparedResult> results, int columns);
// The same facts as a list of objects; null stands for what was not evaluated.
Json ToJson(std::span<const ComparedResult> results);

}  // namespace quantd
