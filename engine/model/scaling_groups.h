// Where scales can be moved between what makes activations and the linears that read them, without
// changing the function: y = (x / s) (W s)^T. Section 3.2 of AWQ (arXiv 2306.00978), SmoothQuant
// (arXiv 2211.10438).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/types/model_spec.h"

namespace quantd {

struct ScalingGroup {
  int input = -1;            // LinearSpec::input of the linears that read x
  std::vector<int> linears;  // their positions in BlockSpec::linears; columns are multiplied by s.
                             // Experts read some tokens of x each, under inputs of their own.
  // What makes x, and is divided by s: a norm's gain and bias, or the rows of a linear.
  NormSpec norm;
  int source = -1;  // position in BlockSpec::linears, when not a norm
  // With a source linear, the row of it that makes each input channel [K]. Rows that make several
  // channels (v under grouped-query attention) take one scale for all of them.
  std::vector<int32_t> source_rows;
};

// Of one block, by role: norm -> q, k, v; v -> o; norm -> gate, up (router and all experts in a
// mixture; with q, k, v where one norm makes the input of both); up -> down, where nothing but a
// gate or a ReLU lies between.
std::vector<ScalingGroup> ScalingGroupsOf(const ModelSpec& model, const BlockSpec& block);

// The row of v, or of q, k, v as one, that makes dimension i of value head `head`.
int64_t ValueRow(const ModelSpec& model, const BlockSpec& block, int64_t head, int64_t i);

}  // namespace quantd
