// Quantization methods. A method is one file with one row here: what it is, what it needs, what it
// does to rows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/kernels.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/model_spec.h"
#include "engine/recipe.h"
#include "engine/scheme.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// One typed option of a method, for GetCapabilities, --help and docs.
struct OptionRow {
  std::string_view name;      // "scale_rule"
  std::string_view type;      // "enum", "int", "bool", "float"
  std::string_view fallback;  // default, as text
  std::string_view values;    // range or list, as text
  std::string_view help;
};

struct Method {
  std::string_view name;
  std::string_view summary;   // one line
  std::string_view source;    // paper and equation, or "quantd"
  std::span<const int> bits;  // supported
  bool needs_calibration;     // for some of its options; `needs` says for which
  std::span<const OptionRow> options;

  // The scheme that a request means for one linear: fills in the method's defaults and checks
  // everything. RECIPE_INVALID, `where` being the module name, with got and wanted.
  absl::StatusOr<Scheme> (*resolve)(const SchemeRequest& request, const LinearSpec& linear,
                                    DType model_dtype);
  StatisticsNeeds (*needs)(const Scheme& scheme);
  // Quantizes rows of one linear; rows are independent of each other (with Granularity::kTensor,
  // all rows come in one call). `statistics` is null unless needs() asked for it. Errors:
  // MODEL_NOT_FINITE naming row and column.
  absl::Status (*quantize)(const WeightRows& weight, const Scheme& scheme,
                           const InputStatistics* statistics, const QuantizeKernels& kernels,
                           QuantizedRows* out);
};

std::span<const Method> Methods();
// nullptr if there is none.
const Method* FindMethod(std::string_view name);

}  // namespace quantd
