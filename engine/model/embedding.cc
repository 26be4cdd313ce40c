#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model/forward.h"

namespace quantd {

absl::StatusOr<Embedding> Embedding::Load(const ModelSpec& model, const Checkpoint& checkpoint) {
  const TensorInfo* info = checkpoint.Find(model.embedding);
  if (info == nullptr) {
    return MakeError(Reason::kModelCorrupt, "no embedding",
                     Violation{model.embedding, "no such tensor", "a table"});
  }
  Embedding embedding;
  embedding.checkpoint_ = &checkpoint;
  embedding.table_ = *info;
  return embedding;
}

absl::Status Embedding::Embed(std::span<const int32_t> ids, float* x) const {
  const int64_t rows = table_.shape[0], width = table_.shape[1];
  std::vector<std::byte> row(static_cast<size_t>(width * SizeOf(table_.dtype)));
  for (const int32_t id : ids) {
    if (id < 0 || id >= rows) {
      return MakeError(Reason::kDatasetInvalid, "a token that the model does not have",
                       Violation{"tokens", std::to_string(id), "0 to " + std::to_string(rows - 1)});
    }
    QD_RETURN_IF_ERROR(checkpoint_->ReadRows(table_.name, id, 1, row));
    WidenToF32(row.data(), table_.dtype, width, x);
    x += width;
  }
  return absl::OkStatus();
}

}  // namespace quantd
