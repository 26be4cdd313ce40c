#include "engine/block/block_result.h"

#include <limits>
#include <utility>

#include "base/error.h"

namespace quantd {

Json ToJson(const BlockResult& result) {
  Json layers = Json::array();
  for (const LayerReport& layer : result.layers) layers.push_back(ToJson(layer));
  Json json = {
      {"block", result.block}, {"layers", std::move(layers)}, {"warnings", result.warnings}};
  if (result.cache.has_value()) json["cache"] = ToJson(*result.cache);
  return json;
}

absl::StatusOr<BlockResult> BlockResultFromJson(const Json& json) {
  BlockResult result;
  JsonFields fields(json, "block result");
  result.block = fields.Integer("block", 0, 0, std::numeric_limits<int64_t>::max());
  result.warnings = fields.Strings("warnings");
  const Json* layers = fields.Value("layers");
  if (layers == nullptr || !layers->is_array()) fields.Wrong("layers", "none", "an array");
  const Json* cache = fields.Value("cache");
  QD_RETURN_IF_ERROR(fields.Finish());
  for (const Json& layer : *layers) {
    QD_ASSIGN_OR_RETURN(LayerReport report, LayerReportFromJson(layer));
    result.layers.push_back(std::move(report));
  }
  if (cache != nullptr) {
    QD_ASSIGN_OR_RETURN(result.cache, CacheReportFromJson(*cache));
  }
  return result;
}

}  // namespace quantd
