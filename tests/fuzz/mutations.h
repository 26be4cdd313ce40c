// Small seeded damage to known files, for tests that go on where no fuzzer runs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {

// The files of tests/fuzz/seeds/<name>, in the order of their names.
inline std::vector<std::string> FuzzSeeds(const std::string& name) {
  const std::string folder = SourcePath("tests/fuzz/seeds/") + name;
  std::vector<std::string> seeds;
  const std::vector<std::string> files = *ListFolder(folder);
  for (const std::string& file : files) {
    seeds.push_back(*ReadFile(folder + "/" + file, 1 << 20));
  }
  return seeds;
}

// One to four changes: a bit, a byte of JSON, a number, a piece cut out, a piece doubled. The first
// eight bytes, where safetensors keeps a length, stay whole three times out of four.
inline std::string Damaged(std::string bytes, std::mt19937& random) {
  static constexpr std::string_view kTokens[] = {"9223372036854775807",
                                                 "18446744073709551615",
                                                 "-1",
                                                 "0",
                                                 "1e308",
                                                 "null",
                                                 "[",
                                                 "]",
                                                 "{",
                                                 "}",
                                                 "\"",
                                                 "\\u0000"};
  const size_t first = bytes.size() > 16 && random() % 4 != 0 ? 8 : 0;
  const size_t changes = 1 + random() % 4;
  for (size_t change = 0; change < changes && bytes.size() > first; ++change) {
    const size_t at = first + random() % (bytes.size() - first);
    const size_t count = std::min<size_t>(bytes.size() - at, 1 + random() % 16);
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        break;
      case 1:
        bytes.replace(at, count, kTokens[random() % std::size(kTokens)]);
        break;
      case 2:
        bytes.erase(at, count);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, count));
        break;
      default:
        bytes[at] = static_cast<char>('0' + random() % 10);
    }
  }
  return bytes;
}

// Calls `target` on every seed and on `rounds` damaged copies of each.
template <typename Target>
void ReplaySeeds(const std::string& name, int rounds, Target target) {
  const std::vector<std::string> seeds = FuzzSeeds(name);
  ASSERT_FALSE(seeds.empty());
  std::mt19937 random(3);
  for (const std::string& seed : seeds) {
    target(seed);
    for (int round = 0; round < rounds; ++round) target(Damaged(seed, random));
  }
}

}  // namespace quantd
