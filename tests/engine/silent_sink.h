// Listens to a run and says nothing.
#pragma once

#include "engine/types/progress.h"

namespace quantd {

class SilentSink : public ProgressSink {
 public:
  void OnProgress(const ProgressReport& /*report*/) override {}
  void OnLayer(const LayerReport& /*report*/) override {}
  void OnFile(const SealedFile& /*file*/) override {}
  void OnWarning(std::string_view /*text*/) override {}
  bool Cancelled() override { return false; }
};

}  // namespace quantd
