// The files of a GGUF model: one, or the parts that it was split into.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/random_access_file.h"
#include "engine/gguf/gguf_reader.h"
#include "engine/tensor/model_files.h"

namespace quantd {

struct GgufPart {
  std::string name;  // of the file
  std::unique_ptr<RandomAccessFile> file;
  GgufHeader header;
};

// Is told what is wrong with the files, and where.
using PartProblem = std::function<void(std::string where, std::string text)>;

// Of two files, whether they are parts of one model by their names: NAME-00001-of-00003.gguf.
bool ArePartsOfOne(std::string_view a, std::string_view b);
// The GGUF file that is the only model there (the first part of one that was split); empty: none,
// several, or safetensors beside it.
std::string OnlyGguf(const ModelFiles& files);
// Whether the file begins as GGUF does.
bool LooksLikeGguf(const ModelFiles& files, std::string_view name);
// The file `name` and, if its header says that it is a part (split.count), all the others, in
// their order. What is missing, damaged or of another model is a problem, and
// the part is left out. Errors: of opening `name`.
absl::StatusOr<std::vector<GgufPart>> OpenGgufParts(const ModelFiles& files,
                                                    const std::string& name,
                                                    const PartProblem& problem);
// The tensor of that name, and the part that holds it; nulls if there is none.
struct PlacedTensor {
  const GgufPart* part = nullptr;
  const GgufTensor* tensor = nullptr;
};
PlacedTensor FindTensor(std::span<const GgufPart> parts, std::string_view name);
// The metadata of the first part, the tensors of all.
GgufHeader WholeHeader(const std::vector<GgufPart>& parts);

}  // namespace quantd
