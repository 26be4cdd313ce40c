// The tiny FP8 checkpoints of tests/golden/fp8, and the dense models that they stand for.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "tests/paths.h"

namespace quantd {

inline std::vector<std::string> Float8Models() {
  return {"deepseek-block", "compressed-channel", "compressed-block", "static-tensor"};
}

inline std::string Float8Folder(const std::string& name) {
  return SourcePath("tests/golden/fp8/") + name;
}

// A folder with the weights that `name` stands for, as their library multiplied them out.
inline std::string WriteDequantized(const std::string& name, const TemporaryFolder& in) {
  const std::string folder = in.path() + "/" + name;
  Json config = *ParseJson(*ReadFile(Float8Folder(name) + "/config.json", 1 << 20), name);
  config.erase("quantization_config");
  const bool written =
      MakeFolders(folder).ok() &&
      CopyFileAtomic(Float8Folder(name) + "/dequantized.safetensors", folder + "/model.safetensors")
          .ok() &&
      WriteFileAtomic(folder + "/config.json", DumpJsonPretty(config)).ok();
  return written ? folder : "";
}

// For names of parameterised tests.
inline std::string Float8TestName(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

}  // namespace quantd
