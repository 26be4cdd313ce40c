#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/model/forward.h"

namespace quantd {
namespace {

absl::StatusOr<TensorInfo> TableOf(const Checkpoint& checkpoint, const std::string& name) {
  if (const TensorInfo* info = checkpoint.Find(name); info != nullptr) return *info;
  return MakeError(Reason::kModelCorrupt, "no embedding",
                   Violation{name, "no such tensor", "a table"});
}

}  // namespace

absl::StatusOr<Embedding> Embedding::Load(const ModelSpec& model, const Checkpoint& checkpoint) {
  Embedding embedding;
  embedding.checkpoint_ = &checkpoint;
  QD_ASSIGN_OR_RETURN(embedding.table_, TableOf(checkpoint, model.embedding));
  embedding.scale_ = static_cast<float>(model.embedding_scale);
  if (model.positions.empty()) return embedding;
  QD_ASSIGN_OR_RETURN(embedding.positions_, TableOf(checkpoint, model.positions));
  embedding.first_position_ = model.first_position;
  return embedding;
}

Embedding Embedding::WithRows(std::shared_ptr<const QuantizedRows> rows) const {
  Embedding embedding = *this;
  embedding.rows_ = std::move(rows);
  return embedding;
}

absl::Status Embedding::Embed(std::span<const int32_t> ids, float* x) const {
  const int64_t rows = rows_ != nullptr ? rows_->rows : table_.shape[0];
  const int64_t width = rows_ != nullptr ? rows_->columns : table_.shape[1];
  std::vector<float> position(static_cast<size_t>(width));
  int64_t place = first_position_;
  for (const int32_t id : ids) {
    if (id < 0 || id >= rows) {
      return MakeError(Reason::kDatasetInvalid, "a token that the model does not have",
                       Violation{"tokens", std::to_string(id), "0 to " + std::to_string(rows - 1)});
    }
    if (rows_ != nullptr) {
      rows_->Dequantize(id, x);
    } else {
      QD_RETURN_IF_ERROR(checkpoint_->ReadRowsF32(table_.name, id, 1, x));
    }
    for (int64_t i = 0; scale_ != 1.0F && i < width; ++i) x[i] *= scale_;
    if (!positions_.name.empty()) {
      QD_RETURN_IF_ERROR(checkpoint_->ReadRowsF32(positions_.name, place++, 1, position.data()));
      for (int64_t i = 0; i < width; ++i) x[i] += position[static_cast<size_t>(i)];
    }
    x += width;
  }
  return absl::OkStatus();
}

}  // namespace quantd
