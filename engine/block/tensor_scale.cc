#include "engine/block/tensor_scale.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/checked.h"
#include "base/error.h"
#include "engine/backend/number_kernels.h"

namespace quantd {
namespace {

bool HasTensorScale(const ResolvedLinear& entry) {
  return entry.scheme.has_value() && entry.scheme->floating() &&
         entry.scheme->number->scale == ScaleKind::kE4M3;
}

std::string_view ParentOf(std::string_view module) {
  const size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot);
}

bool Fused(const LinearSpec& a, const LinearSpec& b) {
  return a.input == b.input && ParentOf(a.name) == ParentOf(b.name);
}

// The largest magnitude among the weights; one that is not finite is named when it is rounded.
absl::StatusOr<float> AbsmaxOf(const WeightSource& source, const Transform* transform,
                               ThreadPool& pool) {
  constexpr int64_t kPanelWeights = 256 << 10;
  const int64_t rows = source.linear().out_features, columns = source.linear().in_features;
  const int64_t panel_rows = std::max<int64_t>(1, kPanelWeights / columns);
  const int64_t panels = DivideRoundingUp(rows, panel_rows);
  std::vector<float> most(static_cast<size_t>(panels));
  QD_RETURN_IF_ERROR(pool.ForEach(panels, [&](int64_t panel) -> absl::Status {
    const int64_t row = panel * panel_rows, count = std::min(panel_rows, rows - row);
    AlignedBuffer<float> values(count * columns);
    QD_RETURN_IF_ERROR(source.ReadF32(row, count, values.data()));
    if (transform != nullptr) {
      transform->Apply(row, count, columns, values.data());
    }
    float& own = most[static_cast<size_t>(panel)];
    for (const float value : values.span()) {
      if (std::isfinite(value)) own = std::max(own, std::fabs(value));
    }
    return absl::OkStatus();
  }));
  return *std::max_element(most.begin(), most.end());
}

}  // namespace

absl::StatusOr<std::vector<float>> TensorScales(std::span<const ResolvedLinear> linears,
                                                std::span<const WeightSource> sources,
                                                std::span<const Transform> transforms,
                                                ThreadPool& pool) {
  std::vector<float> own(linears.size()), scales(linears.size());
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!HasTensorScale(linears[i])) continue;
    const Transform* transform =
        transforms.empty() || transforms[i].empty() ? nullptr : &transforms[i];
    QD_ASSIGN_OR_RETURN(own[i], AbsmaxOf(sources[i], transform, pool));
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!HasTensorScale(linears[i])) continue;
    float most = own[i];
    for (size_t j = 0; j < linears.size(); ++j) {
      if (Fused(*linears[i].linear, *linears[j].linear)) most = std::max(most, own[j]);
    }
    scales[i] = TensorScaleOf(most);
  }
  return scales;
}

}  // namespace quantd
