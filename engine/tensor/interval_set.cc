#include "engine/tensor/interval_set.h"

#include <iterator>

namespace quantd {

bool IntervalSet::Add(int64_t begin, int64_t end) {
  if (begin == end) return true;
  const auto next = ranges_.lower_bound(begin);
  if (next != ranges_.end() && next->first < end) return false;
  const auto previous = next == ranges_.begin() ? ranges_.end() : std::prev(next);
  if (previous != ranges_.end() && previous->second > begin) return false;
  if (next != ranges_.end() && next->first == end) {
    end = next->second;
    ranges_.erase(next);
  }
  if (previous != ranges_.end() && previous->second == begin) {
    previous->second = end;
  } else {
    ranges_.emplace(begin, end);
  }
  return true;
}

int64_t IntervalSet::EndFrom(int64_t position) const {
  auto range = ranges_.upper_bound(position);
  if (range == ranges_.begin()) return position;
  --range;
  return range->second > position ? range->second : position;
}

}  // namespace quantd
