// A set of byte positions, kept as half-open ranges that neither touch nor overlap.
#pragma once

#include <cstdint>
#include <map>

namespace quantd {

// Thread-compatible.
class IntervalSet {
 public:
  // Adds [begin, end), begin <= end. Returns false, and changes nothing, if a position of it is in
  // the set already.
  bool Add(int64_t begin, int64_t end);
  // The end of the range that holds `position`; `position` itself if none does.
  int64_t EndFrom(int64_t position) const;

 private:
  std::map<int64_t, int64_t> ranges_;  // begin to end
};

}  // namespace quantd
