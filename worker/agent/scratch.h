// The scratch folder of one worker: its own while it lives, empty when it begins.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace quantd {

class Scratch {
 public:
  // Makes `root`/`worker`, locks it, and removes what an earlier life left in it. ALREADY_EXISTS if
  // a living worker holds it.
  static absl::StatusOr<Scratch> Open(const std::string& root, const std::string& worker);
  ~Scratch();
  Scratch(Scratch&& other) noexcept;
  Scratch& operator=(Scratch&&) = delete;

  // Absolute.
  const std::string& path() const { return path_; }

 private:
  Scratch(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_;
};

}  // namespace quantd
