// What an inspection finds wrong, or worth knowing.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace quantd {

struct Finding {
  std::string where;  // a tensor, a module, a file, or "config.json:key"
  std::string text;
};

// Problems mean that the model is damaged or contradicts itself; notes are for people to judge.
struct Findings {
  std::vector<Finding> problems, notes;

  void Problem(std::string where, std::string text) {
    problems.push_back({std::move(where), std::move(text)});
  }
  void Note(std::string where, std::string text) {
    notes.push_back({std::move(where), std::move(text)});
  }
};

}  // namespace quantd
