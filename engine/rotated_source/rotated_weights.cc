#include "engine/rotated_source/rotated_weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/model/residual_stream.h"

namespace quantd {
namespace {

// Enough for a block's two, read in turns.
constexpr size_t kKeptTensors = 2;

int64_t WidthOf(const TensorInfo& info) { return info.shape.back(); }

}  // namespace

absl::StatusOr<std::shared_ptr<const RotatedWeights>> RotatedWeights::Create(Checkpoint checkpoint,
                                                                             const ModelSpec& model,
                                                                             Rotation rotation) {
  std::shared_ptr<RotatedWeights> weights(
      new RotatedWeights(std::move(checkpoint), std::move(rotation)));
  QD_RETURN_IF_ERROR(weights->Plan(model));
  return weights;
}

absl::Status RotatedWeights::Plan(const ModelSpec& model) {
  for (const TensorInfo* info : checkpoint_.Tensors()) {
    tensors_.push_back({.info = *info, .stored = info->name});
  }
  const std::string head = model.head.name + ".weight";
  if (model.tied_embeddings) {
    // A copy in the checkpoint is no other tensor than the embedding.
    Shown* copy = Find(head);
    if (copy == nullptr) {
      copy = &tensors_.emplace_back(
          Shown{.info = *checkpoint_.Find(model.embedding), .stored = model.embedding});
      copy->info.name = head;
    }
    copy->stored = model.embedding;
    std::sort(tensors_.begin(), tensors_.end(),
              [](const Shown& a, const Shown& b) { return a.info.name < b.info.name; });
  }
  QD_RETURN_IF_ERROR(
      PlanReader(model.tied_embeddings ? head : model.head_tensor, model.final_norm.gain));
  Find(model.embedding)->part = Part::kReads;
  for (const BlockSpec& block : model.blocks) {
    for (const LinearSpec& linear : block.linears) {
      if (SideOf(linear.role) == ResidualSide::kReads) {
        QD_RETURN_IF_ERROR(PlanReader(linear.name + ".weight", NormBefore(block, linear).gain));
      } else if (SideOf(linear.role) == ResidualSide::kWrites) {
        Find(linear.name + ".weight")->part = Part::kWrites;
        if (linear.has_bias) Find(linear.name + ".bias")->part = Part::kWrites;
      }
    }
  }
  return CheckRest(model);
}

// The gain of the norm before goes into the tensor.
absl::Status RotatedWeights::PlanReader(const std::string& tensor, const std::string& norm) {
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> gain, checkpoint_.ReadF32(norm));
  Shown& reader = *Find(tensor);
  reader.part = Part::kReads;
  reader.gain = std::make_shared<const std::vector<float>>(gain.span().begin(), gain.span().end());
  Find(norm)->part = Part::kOnes;
  return absl::OkStatus();
}

// A matrix that nobody has named may read the stream or write to it.
absl::Status RotatedWeights::CheckRest(const ModelSpec& model) const {
  std::set<std::string, std::less<>> linears;
  for (const LinearSpec* linear : model.Linears()) linears.insert(linear->name + ".weight");
  for (const Shown& tensor : tensors_) {
    const bool known = tensor.part != Part::kAsItIs || linears.contains(tensor.info.name) ||
                       tensor.info.shape.size() < 2;
    if (known) continue;
    return MakeError(Reason::kModelUnsupported, "the residual stream cannot be rotated",
                     Violation{.where = tensor.info.name,
                               .got = "a matrix whose part in the model is not known",
                               .wanted = "none"});
  }
  return absl::OkStatus();
}

RotatedWeights::Shown* RotatedWeights::Find(const std::string& name) {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const Shown& tensor) { return tensor.info.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

std::vector<TensorInfo> RotatedWeights::Infos() const {
  std::vector<TensorInfo> infos;
  infos.reserve(tensors_.size());
  for (const Shown& tensor : tensors_) infos.push_back(tensor.info);
  return infos;
}

absl::Status RotatedWeights::Read(size_t index, int64_t begin, std::span<std::byte> out) const {
  const Shown& tensor = tensors_[index];
  if (tensor.part == Part::kWrites) {
    QD_ASSIGN_OR_RETURN(const auto whole, Whole(index));
    std::memcpy(out.data(), whole->data() + begin, out.size());
    return absl::OkStatus();
  }
  if (tensor.part == Part::kAsItIs && tensor.info.shape.size() < 2) {
    QD_ASSIGN_OR_RETURN(const Tensor whole, checkpoint_.Read(tensor.stored));
    std::memcpy(out.data(), whole.bytes.data() + begin, out.size());
    return absl::OkStatus();
  }
  return ReadByRows(tensor, begin, out);
}

// Whole rows around the bytes, some at a time.
absl::Status RotatedWeights::ReadByRows(const Shown& tensor, int64_t begin,
                                        std::span<std::byte> out) const {
  constexpr int64_t kTogether = 64;
  const int64_t row_bytes = WidthOf(tensor.info) * SizeOf(tensor.info.dtype);
  const int64_t end = begin + static_cast<int64_t>(out.size());
  std::vector<std::byte> bytes;
  for (int64_t at = begin; at < end;) {
    const int64_t row = at / row_bytes;
    const int64_t count = std::min(kTogether, DivideRoundingUp(end, row_bytes) - row);
    bytes.resize(static_cast<size_t>(count * row_bytes));
    QD_RETURN_IF_ERROR(ReadRows(tensor, row, count, bytes));
    const int64_t skipped = at - row * row_bytes;
    const int64_t taken = std::min(end, (row + count) * row_bytes) - at;
    std::memcpy(out.data() + (at - begin), bytes.data() + skipped, static_cast<size_t>(taken));
    at += taken;
  }
  return absl::OkStatus();
}

absl::Status RotatedWeights::ReadRows(const Shown& tensor, int64_t row, int64_t count,
                                      std::span<std::byte> out) const {
  if (tensor.part == Part::kAsItIs) return checkpoint_.ReadRows(tensor.stored, row, count, out);
  const int64_t width = WidthOf(tensor.info);
  std::vector<float> values(static_cast<size_t>(count * width), 1.0F);
  if (tensor.part == Part::kReads) {
    QD_RETURN_IF_ERROR(checkpoint_.ReadRowsF32(tensor.stored, row, count, values.data()));
    for (size_t i = 0; tensor.gain != nullptr && i < values.size(); ++i) {
      values[i] *= (*tensor.gain)[i % static_cast<size_t>(width)];
    }
    rotation_.ApplyToRows(values.data(), count);
  }
  NarrowFromF32(values.data(), count * width, tensor.info.dtype, out.data());
  return absl::OkStatus();
}

// R^T mixes all rows. Those who read one tensor at a time wait for each other and not for the disk.
absl::StatusOr<std::shared_ptr<const std::vector<std::byte>>> RotatedWeights::Whole(
    size_t index) const {
  absl::MutexLock lock(&mutex_);
  for (const Kept& kept : kept_) {
    if (kept.index == index) return kept.bytes;
  }
  const Shown& tensor = tensors_[index];
  QD_ASSIGN_OR_RETURN(AlignedBuffer<float> values, checkpoint_.ReadF32(tensor.stored));
  const bool bias = tensor.info.shape.size() < 2;
  rotation_.ApplyToColumns(values.data(), bias ? 1 : WidthOf(tensor.info));
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(tensor.info.bytes()));
  NarrowFromF32(values.data(), tensor.info.elements(), tensor.info.dtype, bytes->data());
  kept_.push_front({.index = index, .bytes = std::move(bytes)});
  if (kept_.size() > kKeptTensors) kept_.pop_back();
  return kept_.front().bytes;
}

}  // namespace quantd
