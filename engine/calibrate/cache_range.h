// How large the keys and values of one block get, channel by channel: what the scales of an FP8
// cache come from.
#pragma once

#include <cstdint>
#include <vector>

namespace quantd {

// Greatest magnitudes [kv_heads * head_dim]; empty before anything was added. Extrema: merging
// gives the same in any order.
struct CacheRange {
  std::vector<float> keys, values;

  // Adds rows keys, values[tokens, channels].
  void Add(const float* keys_seen, const float* values_seen, int64_t tokens, int64_t channels);
  void Merge(const CacheRange& other);
};

}  // namespace quantd
