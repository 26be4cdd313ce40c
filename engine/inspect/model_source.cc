#include "engine/inspect/model_source.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "engine/format/gptq.h"
#include "engine/inspect/model_check.h"
#include "engine/tensor/config_json.h"

namespace quantd {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;

// Files beside config.json in which older tools keep the configuration of the quantization.
constexpr std::array<const char*, 2> kConfigFiles = {"quantize_config.json", "quant_config.json"};
// An object; empty, with a problem, if it cannot be read.
Json ReadObject(const ModelFiles& files, const std::string& name, Findings* findings) {
  const absl::StatusOr<std::string> text = files.ReadText(name, kMaxConfigBytes);
  if (!text.ok()) {
    findings->Problem(name, files.Has(name) ? std::string(text.status().message()) : "missing");
    return Json::object();
  }
  absl::StatusOr<Json> json = ParseConfigJson(*text, name);
  if (json.ok() && json->is_object()) return *std::move(json);
  findings->Problem(name, json.ok() ? "no object" : std::string(json.status().message()));
  return Json::object();
}

Json QuantizationConfig(const ModelFiles& files, const Json& config, Findings* findings) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const auto found = config.find(key); found != config.end() && !found->is_null()) {
      return *found;
    }
  }
  for (const char* name : kConfigFiles) {
    if (!files.Has(name)) continue;
    findings->Note(name, "config.json has no quantization_config: read from here");
    return ReadObject(files, name, findings);
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<ModelSource> ReadModelSource(const ModelFiles& files, Findings* findings) {
  QD_ASSIGN_OR_RETURN(TensorFolder folder, TensorFolder::Open(files, findings));
  ModelSource source = {.folder = std::move(folder), .config = {}, .declared = {}, .modules = {}};
  source.config = ReadObject(files, "config.json", findings);
  absl::StatusOr<Declared> declared =
      ReadDeclared(QuantizationConfig(files, source.config, findings));
  if (declared.ok()) {
    source.declared = *std::move(declared);
  } else {
    findings->Problem("config.json:quantization_config", std::string(declared.status().message()));
    source.declared.method = "unknown";
  }
  source.modules = StoredModules(source.folder, findings);
  for (StoredModule& module : source.modules) {
    if (module.layout != Layout::kGptq || source.declared.scheme_of == nullptr) continue;
    const auto scheme = source.declared.scheme_of(module.name);
    if (scheme.has_value()) module.scheme.symmetric = scheme->symmetric.value_or(true);
    if (source.declared.variant == kGptqV2) module.scheme.layout = kGptqV2;
  }
  CheckModel(source.folder, source.modules, source.config, findings);
  CheckDeclared(source.modules, source.declared, source.config, findings);
  return source;
}

}  // namespace quantd
