#include "engine/types/kv_cache.h"

#include "base/error.h"

namespace quantd {

std::string_view NameOf(KvCache cache) { return cache == KvCache::kFp8 ? "fp8" : "none"; }

Json ToJson(const CacheReport& report) {
  return {{"name", report.name},
          {"k_scale", report.scales.key},
          {"v_scale", report.scales.value},
          {"k_spread", report.key_spread},
          {"v_spread", report.value_spread}};
}

absl::StatusOr<CacheReport> CacheReportFromJson(const Json& json) {
  constexpr double kHuge = 1e300;
  CacheReport report;
  JsonFields fields(json, "cache");
  report.name = fields.String("name", "");
  report.scales.key = static_cast<float>(fields.Number("k_scale", 1, 0, kHuge));
  report.scales.value = static_cast<float>(fields.Number("v_scale", 1, 0, kHuge));
  report.key_spread = fields.Number("k_spread", 1, 0, kHuge);
  report.value_spread = fields.Number("v_spread", 1, 0, kHuge);
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return report;
}

}  // namespace quantd
