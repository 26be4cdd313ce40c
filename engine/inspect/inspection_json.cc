// An inspection as JSON, for scripts.
#include "engine/inspect/inspection.h"

namespace quantd {
namespace {

Json ToJson(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"where", finding.where}, {"text", finding.text}});
  }
  return list;
}

}  // namespace

Json ToJson(const Inspection& inspection) {
  Json files = Json::array(), tensors = Json::array(), modules = Json::array();
  for (const InspectedFile& file : inspection.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}});
  }
  for (const InspectedTensor& tensor : inspection.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"type", tensor.type},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes},
                       {"file", tensor.file}});
  }
  for (const InspectedModule& module : inspection.modules) {
    modules.push_back({{"name", module.name},
                       {"scheme", module.scheme},
                       {"quantized", module.quantized},
                       {"out_features", module.out_features},
                       {"in_features", module.in_features},
                       {"bytes", module.bytes}});
  }
  return {{"path", inspection.path},
          {"kind", inspection.kind},
          {"family", inspection.family},
          {"architecture", inspection.architecture},
          {"layout", inspection.layout},
          {"parameters", inspection.parameters},
          {"bytes", inspection.bytes},
          {"bits_per_quantized_weight", inspection.bits_quantized},
          {"bits_per_parameter", inspection.bits_overall},
          {"has_index", inspection.has_index},
          {"tokenizer", inspection.tokenizer},
          {"problems", ToJson(inspection.findings.problems)},
          {"notes", ToJson(inspection.findings.notes)},
          {"config", inspection.config},
          {"files", std::move(files)},
          {"modules", std::move(modules)},
          {"tensors", std::move(tensors)}};
}

}  // namespace quantd
