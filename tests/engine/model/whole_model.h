// Runs a whole model on one sequence, as the engine does block by block.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/model/forward.h"
#include "engine/model/registry.h"
#include "tests/engine/open_model.h"

namespace quantd {

class WholeModel {
 public:
  static absl::StatusOr<std::unique_ptr<WholeModel>> Open(const std::string& folder) {
    QD_ASSIGN_OR_RETURN(auto files, OpenModelFolder(folder));
    return Open(std::move(files));
  }
  static absl::StatusOr<std::unique_ptr<WholeModel>> Open(std::shared_ptr<const ModelFiles> files) {
    auto model = std::make_unique<WholeModel>();
    QD_ASSIGN_OR_RETURN(model->checkpoint_, Checkpoint::Open(files));
    QD_ASSIGN_OR_RETURN(model->spec_, ReadModelSpec(*files, model->checkpoint_));
    return model;
  }

  const ModelSpec& spec() const { return spec_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }

  // The activations before the head, [T, D].
  absl::StatusOr<std::vector<float>> Activations(std::span<const int32_t> ids, ComputeType compute,
                                                 InputObserver* observer = nullptr) const {
    QD_ASSIGN_OR_RETURN(Backend * backend, FindBackend("cpu"));
    const auto tokens = static_cast<int64_t>(ids.size());
    std::vector<float> x(static_cast<size_t>(tokens * spec_.hidden));
    QD_ASSIGN_OR_RETURN(const Embedding embedding, Embedding::Load(spec_, checkpoint_));
    QD_RETURN_IF_ERROR(embedding.Embed(ids, x.data()));
    const RopeTables ropes = RopeTables::Make(spec_, tokens);
    for (const BlockSpec& block : spec_.blocks) {
      QD_ASSIGN_OR_RETURN(
          const BlockWeights weights,
          LoadBlock(spec_, block, SourcesOf(checkpoint_, block), checkpoint_, *backend, compute));
      QD_RETURN_IF_ERROR(ForwardBlock(spec_, block, weights, ropes, *backend, compute, tokens,
                                      x.data(), observer));
    }
    return x;
  }

  absl::StatusOr<std::vector<float>> Logits(std::span<const int32_t> ids,
                                            ComputeType compute) const {
    QD_ASSIGN_OR_RETURN(Backend * backend, FindBackend("cpu"));
    QD_ASSIGN_OR_RETURN(const std::vector<float> x, Activations(ids, compute));
    QD_ASSIGN_OR_RETURN(const Head head, Head::Load(spec_, checkpoint_, *backend, compute));
    std::vector<float> logits(ids.size() * static_cast<size_t>(spec_.vocabulary));
    QD_RETURN_IF_ERROR(head.Logits(x.data(), static_cast<int64_t>(ids.size()), logits.data()));
    return logits;
  }

 private:
  Checkpoint checkpoint_;
  ModelSpec spec_;
};

}  // namespace quantd
