// GetCapabilities: generated from the engine's registries, the limits and the workers that are
// alive.
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "engine/format/registry.h"
#include "engine/method/registry.h"
#include "engine/model/registry.h"
#include "proto/convert.h"
#include "proto/convert_options.h"
#include "server/api/job_messages.h"
#include "server/api/jobs.h"

namespace quantd {
namespace {

constexpr std::pair<std::string_view, v1::OptionInfo::Type> kOptionTypes[] = {
    {"bool", v1::OptionInfo::BOOL},
    {"int", v1::OptionInfo::INTEGER},
    {"float", v1::OptionInfo::NUMBER},
    {"enum", v1::OptionInfo::CHOICE}};

v1::OptionInfo InfoOf(const OptionRow& row) {
  v1::OptionInfo info;
  info.set_name(std::string(row.name));
  for (const auto& [name, type] : kOptionTypes) {
    if (name == row.type) info.set_type(type);
  }
  *info.mutable_default_value() = ToProto(FallbackOf(row));
  if (const auto range = RangeOf(row); range.has_value()) {
    info.set_minimum(range->first);
    info.set_maximum(range->second);
  }
  for (std::string& choice : ChoicesOf(row)) info.add_choices(std::move(choice));
  info.set_values(std::string(row.values));
  info.set_description(std::string(row.help));
  info.set_scheme_field(IsSchemeField(row.name));
  return info;
}

void AddMethod(const Method& method, v1::Capabilities& capabilities) {
  v1::MethodInfo* info = capabilities.add_methods();
  info->set_name(std::string(method.name));
  info->set_summary(std::string(method.summary));
  info->set_source(std::string(method.source));
  for (const int bits : method.bits) info->add_bits(bits);
  info->set_needs_calibration(method.needs_calibration);
  if (method.needs_calibration) {
    info->set_calibration_tokens(method.calibration_tokens);
    info->set_calibration_tokens_per_input(method.tokens_per_input);
  }
  for (const OptionRow& row : method.options) {
    *info->add_options() = InfoOf(row);
    if (row.name == "group_size") info->set_group_sizes(std::string(row.values));
  }
}

void AddFormat(const Format& format, v1::Capabilities& capabilities) {
  v1::FormatInfo* info = capabilities.add_formats();
  info->set_name(std::string(format.name));
  info->set_summary(std::string(format.summary));
  for (const LoaderRow& row : format.loaders) {
    v1::LoaderInfo* loader = info->add_loaders();
    loader->set_name(std::string(row.name));
    loader->set_shape_rules(std::string(row.shape_rules));
    loader->set_versions(std::string(row.versions));
  }
}

v1::Limits LimitsMessage(const Limits& limits) {
  v1::Limits message;
  message.set_message_bytes(limits.message_bytes);
  message.set_page_size(limits.page_size);
  message.set_queue_length(limits.queue_length);
  message.set_open_jobs(limits.open_jobs);
  message.set_spec_bytes(limits.spec_bytes);
  message.set_labels(limits.labels);
  message.set_label_characters(limits.label_characters);
  message.set_overrides(limits.overrides);
  *message.mutable_max_run_time() = ToProto(limits.max_run_time);
  message.set_max_attempts(limits.max_attempts);
  message.set_streams(limits.streams);
  message.set_chunk_bytes(limits.chunk_bytes);
  message.set_events_per_call(limits.events_per_call);
  message.set_upload_bytes(limits.upload_bytes);
  message.set_upload_files(limits.upload_files);
  return message;
}

}  // namespace

absl::Status GetCapabilities(ApiContext& api, const Caller& /*caller*/,
                             const v1::GetCapabilitiesRequest& /*request*/,
                             v1::Capabilities* response) {
  response->set_server_version(QUANTD_VERSION);
  for (const Method& method : Methods()) AddMethod(method, *response);
  for (const Format& format : Formats()) AddFormat(format, *response);
  for (const Family& family : Families()) {
    v1::FamilyInfo* info = response->add_families();
    info->set_name(std::string(family.name));
    info->set_summary(std::string(family.summary));
  }
  std::vector<Worker> workers;
  QD_RETURN_IF_ERROR(api.store.Read([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(workers, store.ListWorkers(api.clock.Now() - api.limits.lease));
    return absl::OkStatus();
  }));
  std::map<v1::BackendKind, int> backends;
  for (const Worker& worker : workers) {
    for (const std::string& name : worker.backends) ++backends[BackendByName(name)];
  }
  // Of newer workers: jobs cannot ask for them here.
  backends.erase(v1::BACKEND_KIND_UNSPECIFIED);
  for (const auto& [backend, count] : backends) {
    v1::BackendInfo* info = response->add_backends();
    info->set_backend(backend);
    info->set_workers(count);
  }
  *response->mutable_limits() = LimitsMessage(api.limits);
  for (const std::string& root : api.model_roots) response->add_model_roots(root);
  return absl::OkStatus();
}

}  // namespace quantd
