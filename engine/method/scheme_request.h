// What methods share in reading a scheme request: each fills in its own defaults, and reports every
// problem at once.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/error.h"
#include "engine/gguf/mixture.h"
#include "engine/method/option_row.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"
#include "engine/types/scheme.h"

namespace quantd {

// Starts from `scheme` (the method's defaults), takes over what `request` says of granularity,
// group size, symmetry, scale rule, bits and activations, and checks what holds for every method: a
// group size that divides the inputs, is a multiple of 8 and stands only with granularity group;
// per-tensor scales only by absmax; options that the method's rows know, within their ranges.
class SchemeReader {
 public:
  SchemeReader(const SchemeRequest& request, const LinearSpec& linear, Scheme defaults,
               std::span<const OptionRow> rows);

  Scheme& scheme() { return scheme_; }
  // Adds a problem of this linear.
  void Wrong(std::string got, std::string wanted);
  // Refuses floating number formats and blocks.
  void OnlyIntegers();
  // For methods of weights alone: refuses activations with integers, which `wanted` is for, and
  // with floating formats those that do not go with their scales.
  void CheckInputs(std::string_view wanted);
  // The scheme, or RECIPE_INVALID with every problem, `where` being the module name.
  absl::StatusOr<Scheme> Finish();

 private:
  void ReadNumberFormat(const SchemeRequest& request);
  void ReadBlocks(const SchemeRequest& request, const Mixture& mixture);
  void CheckFloatingGroups();
  // In place of scale rule hessian, which is refused where it was asked for.
  void WeighBySquares(const SchemeRequest& request, const std::string& with, std::string wanted);
  void ReadOptions(const SchemeRequest& request, std::span<const OptionRow> rows);
  void ReadGranularity(const SchemeRequest& request);
  void CheckGroupSize();

  const LinearSpec& linear_;
  Scheme scheme_;
  std::vector<Violation> violations_;
};

}  // namespace quantd
