#include "engine/calibrate/cache_range.h"

#include <algorithm>
#include <cmath>

namespace quantd {
namespace {

// The greatest magnitude of each channel, [channels], joins `all`.
void AddRows(const float* x, int64_t rows, int64_t channels, std::vector<float>& all) {
  all.resize(static_cast<size_t>(channels));
  for (int64_t row = 0; row < rows; ++row) {
    for (float& largest : all) largest = std::max(largest, std::fabs(*x++));
  }
}

}  // namespace

void CacheRange::Add(const float* keys_seen, const float* values_seen, int64_t tokens,
                     int64_t channels) {
  AddRows(keys_seen, tokens, channels, keys);
  AddRows(values_seen, tokens, channels, values);
}

void CacheRange::Merge(const CacheRange& other) {
  AddRows(other.keys.data(), 1, static_cast<int64_t>(other.keys.size()), keys);
  AddRows(other.values.data(), 1, static_cast<int64_t>(other.values.size()), values);
}

}  // namespace quantd
