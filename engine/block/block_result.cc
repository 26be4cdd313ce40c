#include "engine/block/block_result.h"

#include <limits>
#include <utility>

#include "base/error.h"

namespace quantd {

Json ToJson(const BlockResult& result) {
  Json layers = Json::array();
  for (const LayerReport& layer : result.layers) layers.push_back(ToJson(layer));
  return {{"block", result.block}, {"layers", std::move(layers)}, {"warnings", result.warnings}};
}

absl::StatusOr<BlockResult> BlockResultFromJson(const Json& json) {
  BlockResult result;
  JsonFields fields(json, "block result");
  result.block = fields.Integer("block", 0, 0, std::numeric_limits<int64_t>::max());
  result.warnings = fields.Strings("warnings");
  const Json* layers = fields.Value("layers");
  if (layers == nullptr || !layers->is_array()) fields.Wrong("layers", "none", "an array");
  QD_RETURN_IF_ERROR(fields.Finish());
  for (const Json& layer : *layers) {
    QD_ASSIGN_OR_RETURN(LayerReport report, LayerReportFromJson(layer));
    result.layers.push_back(std::move(report));
  }
  return result;
}

}  // namespace quantd
