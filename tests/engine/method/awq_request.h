// One linear and its inputs as Method::fold sees them.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/method/registry.h"

namespace quantd {

struct AwqLinear {
  LinearSpec spec;
  std::vector<float> weights;  // [N, K]
  InputStatistics statistics;  // moments and the whole Gram matrix
  std::vector<float> inputs;   // [T, K]

  AwqLinear(int64_t outputs, int64_t columns) : statistics(columns) {
    spec.name = "model.layers.0.mlp.down_proj";
    spec.role = LinearRole::kDown;
    spec.out_features = outputs;
    spec.in_features = columns;
    statistics.gram = Gram::Make(columns, columns, "").value();
  }

  void AddInputs(const std::vector<float>& x) {
    const auto width = static_cast<size_t>(spec.in_features);
    inputs.insert(inputs.end(), x.begin(), x.end());
    statistics.Add(x.data(), static_cast<int64_t>(x.size() / width));
    for (size_t i = 0; i < width; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (size_t at = 0; at < inputs.size(); at += width) {
          sum += static_cast<double>(inputs[at + i]) * static_cast<double>(inputs[at + j]);
        }
        statistics.gram.Set(static_cast<int64_t>(i), static_cast<int64_t>(j),
                            static_cast<float>(sum));
      }
    }
  }

  // Points to this and to `scheme`.
  TransformRequest Request(const Scheme& scheme) const {
    TransformRequest request;
    request.statistics = &statistics;
    request.linears.push_back(
        {&spec, &scheme, [this](int64_t row, int64_t count, float* to) -> absl::Status {
           std::copy_n(weights.begin() + row * spec.in_features, count * spec.in_features, to);
           return absl::OkStatus();
         }});
    return request;
  }
};

}  // namespace quantd
