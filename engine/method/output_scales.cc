#include "engine/method/output_scales.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/backend/rules.h"

namespace quantd {
namespace {

// Beyond these the sums say more about the few tokens than about the channel.
constexpr double kLeastFactor = 0.5, kMostFactor = 1.5;

bool WritesToResidual(const LinearSpec& linear) {
  return linear.expert < 0 && (linear.role == LinearRole::kO || linear.role == LinearRole::kDown);
}

// Scales of row `n` times `factor`.
void ScaleRow(double factor, DType dtype, int64_t n, QuantizedRows& rows) {
  for (int64_t g = 0; g < rows.groups; ++g) {
    float& scale = rows.scales[static_cast<size_t>(n * rows.groups + g)];
    scale = rules::RoundScale(static_cast<float>(factor * static_cast<double>(scale)), dtype);
  }
}

}  // namespace

bool TunesOutputScales(const Scheme& scheme) {
  return scheme.options.Text("tune") == "output-scales";
}

void CheckTune(SchemeReader& reader) {
  const Scheme& scheme = reader.scheme();
  if (!TunesOutputScales(scheme)) return;
  if (scheme.block != nullptr) {
    reader.Wrong("option tune output-scales with number_format " + scheme.layout,
                 "a number format whose scales are 16-bit numbers");
  }
  if (scheme.floating() && scheme.number->scale != ScaleKind::kFloat) {
    reader.Wrong(absl::StrCat("option tune output-scales with ", ToAbsl(scheme.number->name)),
                 "a number format whose scales are 16-bit numbers");
  }
  if (scheme.RowsPerScale() > 1) {
    reader.Wrong(absl::StrCat("option tune output-scales with ", ToAbsl(scheme.number->name)),
                 "a number format whose scales are of one row");
  }
}

absl::Status TuneOutputScales(const TuneRequest& request, const MethodContext& /*context*/) {
  for (size_t i = 0; i < request.linears.size(); ++i) {
    const TunedLinear& tuned = request.linears[i];
    if (!WritesToResidual(*tuned.linear)) continue;
    QD_ASSIGN_OR_RETURN(const OutputSums sums, request.compare(i));
    for (int64_t n = 0; n < tuned.rows->rows; ++n) {
      const double energy = sums.energy[static_cast<size_t>(n)];
      const double factor = energy > 0 ? sums.product[static_cast<size_t>(n)] / energy : 1;
      if (factor < kLeastFactor || factor > kMostFactor) continue;
      ScaleRow(factor, tuned.scheme->scale_dtype, n, *tuned.rows);
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
