// Quantization methods. A method is one file with one row here: what it is, what it needs, and what
// it does, in up to four steps, of which only quantize is a must:
//
//   fold      per scaling group   statistics, weights -> scales moved from inputs into weights
//   prepare   per linear          statistics -> what all its rows share
//   quantize  per panel of rows   weights -> codes, scales, zeros
//   tune      per block           what the block's outputs were and have become -> rows, changed
//
// A composition ("awq+gptq") is a row that takes its steps from several files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/backend/kernels.h"
#include "engine/calibrate/statistics.h"
#include "engine/method/option_row.h"
#include "engine/tensor/tensor.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"
#include "engine/types/scheme.h"

namespace quantd {

// Where the steps run.
struct MethodContext {
  ThreadPool& pool;
  Backend& backend;
  const QuantizeKernels& kernels;
  std::string scratch_folder = {};  // where factors of Gram matrices lie; empty: in memory
  // In quantize: takes, per group of the rows, the share of its range that a method which cuts
  // ranges keeps. Null: nobody asks.
  double* kept_ranges = nullptr;
};

// One linear whose inputs a fold may rescale.
struct TransformLinear {
  const LinearSpec* linear = nullptr;
  const Scheme* scheme = nullptr;
  // Reads rows [row, row + count) in f32 into to[count, K]. Thread-safe.
  std::function<absl::Status(int64_t row, int64_t count, float* to)> read;
};

// Linears that read the same input x[T, K], all asking for the same fold.
struct TransformRequest {
  std::vector<TransformLinear> linears;
  const InputStatistics* statistics = nullptr;
  // Channels with the same number take one scale: what makes x has one row for all of them (v under
  // grouped-query attention). Empty: each its own. A choice is averaged over them.
  std::span<const int32_t> shared;
};

// s > 0, one per input channel: x becomes x / s, each column of the weights w s. Empty: leave all
// as it is.
struct TransformChoice {
  std::vector<float> scales;
  Figures figures;  // {"alpha", 0.4}, reported for each of the linears
};

// What all rows of one linear share, computed once from the statistics of its input. A method that
// needs more derives from it.
struct Prepared {
  virtual ~Prepared() = default;
  std::optional<StaticInput> input;  // with ActivationScheme::kStatic
  std::vector<int32_t> group_of;     // K, with Scheme::ordered_groups: as QuantizedRows has it
  std::vector<float> importance;     // K weights of the error per input channel; empty: all alike
  Figures figures;
};

// One linear of a block whose linears have been quantized one by one.
struct TunedLinear {
  const LinearSpec* linear = nullptr;
  const Scheme* scheme = nullptr;
  QuantizedRows* rows = nullptr;  // as they are now; a tune changes them in place
};

// Of each output channel of a linear, over tokens of the calibration text: sums of y y' and y'^2, y
// the output in the original block and y' in the quantized one.
struct OutputSums {
  std::vector<double> product, energy;  // [N]
};

// A quantized block beside the original.
struct TuneRequest {
  std::vector<TunedLinear> linears;  // those that ask for it, in the order in which the block has
                                     // them
  // Runs both blocks on the same inputs, the quantized one with its rows as they are now, and
  // compares what linear `index` gives. Deterministic for any number of threads. Cost: two forward
  // passes through the block, of some windows.
  std::function<absl::StatusOr<OutputSums>(size_t index)> compare;
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

  // Null: weights stay as they are. Deterministic for any number of threads.
  absl::StatusOr<TransformChoice> (*transform)(const TransformRequest& request,
                                               const MethodContext& context);
  // Null: nothing is shared. `statistics` is null unless needs() asked for any; they are those of
  // the input as folded. Linears with the same input and scheme are prepared once.
  absl::StatusOr<std::shared_ptr<const Prepared>> (*prepare)(const Scheme& scheme,
                                                             const InputStatistics* statistics,
                                                             const MethodContext& context);
  // Quantizes rows of one linear; rows are independent of each other (with Granularity::kTensor,
  // all rows come in one call, with Scheme::RowsPerScale whole blocks of that many, from the first
  // row of one). Called from many threads. `prepared` is null if prepare is. Errors:
  // MODEL_NOT_FINITE naming row and column.
  absl::Status (*quantize)(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                           const MethodContext& context, QuantizedRows* out);
  // Weights of a panel of rows: the cache for methods that look at each weight alone, more where a
  // panel is multiplied by a matrix that all panels share.
  int64_t panel_weights = 256 << 10;
  // Calibration that its statistics need, in tokens, where a request does not say: measured as
  // where more text no longer lowers the KL (docs/recipe.md). And how many tokens each input of a
  // linear wants, for methods that factor its Gram matrix: fewer than one leave that singular.
  int64_t calibration_tokens = int64_t{64} * 512;
  int64_t tokens_per_input = 0;
  // Whether quantize wants all rows of the linear in one call, as kTensor has it. That call is made
  // outside of loops, so it may use context.pool. Null: no.
  bool (*all_rows)(const Scheme& scheme) = nullptr;
  // Whether a scheme asks for tune. Null: none does.
  bool (*tunes)(const Scheme& scheme) = nullptr;
  // Sees the whole block after its linears were quantized, before they are packed. Null without
  // `tunes`.
  absl::Status (*tune)(const TuneRequest& request, const MethodContext& context) = nullptr;
  // Completes a scheme of blocks by what only the whole model tells: mixtures, whose types go by
  // role and depth. Whoever asks for blocks also decides about the embedding (role kEmbedding) and
  // the output projection (block_scheme.h); of these two nothing is known, so what comes out may be
  // another method. Null: the method has no blocks.
  absl::Status (*settle)(const ModelSpec& model, const LinearSpec& linear,
                         Scheme& scheme) = nullptr;
};

std::span<const Method> Methods();
// nullptr if there is none.
const Method* FindMethod(std::string_view name);
// Whether the linear's method is to tune it with its block.
bool Tunes(const ResolvedLinear& entry);

}  // namespace quantd
