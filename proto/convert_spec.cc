// JobSpec <-> QuantizeRequest.
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "proto/convert.h"
#include "proto/field_checks.h"
#include "proto/wire_enums.h"

namespace quantd {
namespace {

constexpr int64_t kMaxWindows = 65536;
constexpr int64_t kMaxTokensPerWindow = 131072;
constexpr int64_t kMaxShardBytes = int64_t{1} << 44;
constexpr int64_t kMaxTensorParallel = 1024;
constexpr int64_t kMaxMemoryBytes = int64_t{1} << 50;
constexpr int kMaxThreads = 1024;
constexpr int kMaxLogitsWindows = 64;
constexpr std::string_view kBuiltin = "builtin:";

absl::Status NotBuilt(const FieldChecks& checks, std::string_view field, std::string_view wanted) {
  return MakeError(
      Reason::kUnimplemented, "not built yet",
      Violation{.where = checks.Path(field), .got = "set", .wanted = std::string(wanted)});
}

absl::StatusOr<std::string> ReadModel(const v1::ModelSource& model, FieldChecks& all) {
  const FieldChecks checks(all.Path("model"));
  switch (model.source_case()) {
    case v1::ModelSource::kPath:
      if (model.path().empty()) all.Wrong("model.path", "nothing", "a folder on the server");
      return model.path();
    case v1::ModelSource::kUploaded:
      return model.uploaded();
    case v1::ModelSource::kS3:
      return NotBuilt(checks, "s3", "model.path or model.uploaded");
    case v1::ModelSource::kHub:
      return NotBuilt(checks, "hub", "model.path or model.uploaded");
    case v1::ModelSource::SOURCE_NOT_SET:
      break;
  }
  all.Wrong("model", "no source", "model.path: a folder on the server, or model.uploaded");
  return std::string();
}

absl::StatusOr<std::string> ReadDataset(const v1::DatasetSource& dataset, std::string_view path,
                                        std::string_view fallback, FieldChecks& all) {
  const FieldChecks checks(path);
  switch (dataset.source_case()) {
    case v1::DatasetSource::kPath:
      if (dataset.path().empty() || dataset.path().starts_with(kBuiltin)) {
        all.Collect(MakeError(Reason::kInvalidField, "refused",
                              Violation{.where = checks.Path("path"),
                                        .got = '"' + dataset.path() + '"',
                                        .wanted = "a text file on the server"}));
      }
      return dataset.path();
    case v1::DatasetSource::kBuiltin:
      if (dataset.builtin() != "calibration" && dataset.builtin() != "evaluation") {
        all.Collect(MakeError(Reason::kInvalidField, "refused",
                              Violation{.where = checks.Path("builtin"),
                                        .got = '"' + dataset.builtin() + '"',
                                        .wanted = "\"calibration\" or \"evaluation\""}));
      }
      return absl::StrCat(ToAbsl(kBuiltin), dataset.builtin());
    case v1::DatasetSource::kUploaded:
      return dataset.uploaded();
    case v1::DatasetSource::kS3:
      return NotBuilt(checks, "s3", "path, uploaded or builtin");
    case v1::DatasetSource::SOURCE_NOT_SET:
      break;
  }
  return std::string(fallback);
}

absl::Status ReadCalibration(const v1::Calibration& message, CalibrationRequest& calibration,
                             FieldChecks& all) {
  FieldChecks checks(all.Path("calibration"));
  QD_ASSIGN_OR_RETURN(calibration.text, ReadDataset(message.dataset(), checks.Path("dataset"),
                                                    calibration.text, checks));
  if (message.has_samples()) {
    calibration.samples = checks.InRange("samples", message.samples(), 1, kMaxWindows);
  }
  if (message.has_sequence_length()) {
    calibration.tokens_per_sample =
        checks.InRange("sequence_length", message.sequence_length(), 2, kMaxTokensPerWindow);
  }
  // JSON, which the runner reads, holds 63 bits.
  if (message.seed() > static_cast<uint64_t>(INT64_MAX)) {
    checks.Wrong("seed", absl::StrCat(message.seed()), absl::StrCat("at most ", INT64_MAX));
  }
  calibration.seed = message.seed();
  calibration.text_field = message.text_field();
  calibration.chat_template = message.chat_template();
  if (message.long_samples() != v1::LONG_SAMPLES_UNSPECIFIED &&
      message.long_samples() != v1::LONG_SAMPLES_CUT) {
    checks.Wrong("long_samples", absl::StrCat("value ", static_cast<int>(message.long_samples())),
                 "LONG_SAMPLES_CUT");
  }
  all.Collect(checks.Finish());
  return absl::OkStatus();
}

void ReadGate(const v1::QualityGate& message, QualityGate& gate, FieldChecks& all) {
  FieldChecks checks(all.Path("gate"));
  constexpr double kLargest = 1e9;
  if (message.has_max_perplexity_ratio()) {
    gate.max_perplexity_ratio = checks.NumberInRange(
        "max_perplexity_ratio", message.max_perplexity_ratio(), 1e-9, kLargest);
  }
  if (message.has_max_mean_kl()) {
    gate.max_mean_kl = checks.NumberInRange("max_mean_kl", message.max_mean_kl(), 0, kLargest);
  }
  if (message.has_min_top1_agreement()) {
    gate.min_top1_agreement =
        checks.NumberInRange("min_top1_agreement", message.min_top1_agreement(), 0, 1);
  }
  all.Collect(checks.Finish());
}

absl::Status ReadEvaluation(const v1::Evaluation& message, QuantizeRequest& request,
                            FieldChecks& all) {
  FieldChecks checks(all.Path("evaluation"));
  EvaluationRequest& evaluation = request.evaluation;
  QD_ASSIGN_OR_RETURN(evaluation.text, ReadDataset(message.dataset(), checks.Path("dataset"),
                                                   evaluation.text, checks));
  evaluation.enabled = !message.disabled();
  evaluation.text_field = message.text_field();
  evaluation.chat_template = message.chat_template();
  if (message.has_windows()) {
    evaluation.windows = checks.InRange("windows", message.windows(), 1, kMaxWindows);
  }
  if (message.has_sequence_length()) {
    evaluation.tokens_per_window =
        checks.InRange("sequence_length", message.sequence_length(), 2, kMaxTokensPerWindow);
  }
  for (int i = 0; i < message.metrics_size(); ++i) {
    if (message.metrics(i) == v1::METRIC_UNSPECIFIED || !v1::Metric_IsValid(message.metrics(i))) {
      checks.Wrong(absl::StrCat("metrics[", i, "]"),
                   absl::StrCat("value ", static_cast<int>(message.metrics(i))), "a known metric");
    }
  }
  evaluation.analyze = message.analyze();
  evaluation.logits_windows =
      checks.InRange("logits_windows", message.logits_windows(), 0, kMaxLogitsWindows);
  ReadGate(message.gate(), request.gate, checks);
  if (message.disabled() && request.gate != QualityGate{}) {
    checks.Wrong("gate", "a gate without an evaluation", "no gate, or disabled: false");
  }
  all.Collect(checks.Finish());
  return absl::OkStatus();
}

absl::Status ReadOutput(const v1::Output& message, OutputRequest& output, FieldChecks& all) {
  FieldChecks checks(all.Path("output"));
  if (!message.format().empty()) output.format = message.format();
  output.loader = message.loader();
  if (message.has_s3()) return NotBuilt(checks, "s3", "server: true");
  if (message.destination_case() == v1::Output::kServer && !message.server()) {
    checks.Wrong("server", "false", "true: kept by the server");
  }
  if (message.has_shard_bytes()) {
    output.shard_bytes =
        checks.InRange("shard_bytes", message.shard_bytes(), 1 << 20, kMaxShardBytes);
  }
  if (message.has_tensor_parallel()) {
    output.tensor_parallel =
        checks.InRange("tensor_parallel", message.tensor_parallel(), 1, kMaxTensorParallel);
  }
  all.Collect(checks.Finish());
  return absl::OkStatus();
}

// Checks a limit that is given in time; 0 and absent mean none.
void CheckDuration(const google::protobuf::Duration& duration, std::string_view name,
                   FieldChecks& checks) {
  constexpr int64_t kLongest = 366 * 86400;
  if (duration.seconds() < 0 || duration.seconds() > kLongest || duration.nanos() < 0 ||
      duration.nanos() > 999'999'999) {
    checks.Wrong(name, absl::StrCat(duration.seconds(), " s"),
                 absl::StrCat("0 to ", kLongest, " s"));
  }
}

void ReadResources(const v1::Resources& message, ResourceRequest& resources, FieldChecks& all) {
  FieldChecks checks(all.Path("resources"));
  if (message.backend() != v1::BACKEND_KIND_UNSPECIFIED) {
    const auto backend = FromWire(kBackends, message.backend());
    if (!backend.has_value()) {
      checks.Wrong("backend", absl::StrCat("value ", static_cast<int>(message.backend())),
                   "any, cpu or cuda");
    }
    resources.backend = backend.value_or("");
  }
  resources.max_memory_bytes =
      checks.InRange("max_memory_bytes", message.max_memory_bytes(), 0, kMaxMemoryBytes);
  resources.threads =
      static_cast<int>(checks.InRange("threads", message.threads(), 0, kMaxThreads));
  checks.InRange("priority", message.priority(), -100, 100);
  CheckDuration(message.max_run_time(), "max_run_time", checks);
  CheckDuration(message.max_queue_time(), "max_queue_time", checks);
  if (message.compute() != v1::COMPUTE_TYPE_UNSPECIFIED) {
    const auto compute = FromWire(kComputeTypes, message.compute());
    if (!compute.has_value()) {
      checks.Wrong("compute", absl::StrCat("value ", static_cast<int>(message.compute())),
                   "auto, f32 or bf16");
    }
    resources.compute = compute.value_or(ComputeType::kAuto);
  }
  all.Collect(checks.Finish());
}

// Whether it is the name of an upload rather than a path: "models/{id}". What more the id must be
// is the server's to say.
bool NamesUpload(std::string_view text, std::string_view collection) {
  return text.starts_with(collection) && text.find('/', collection.size()) == text.npos;
}

v1::ModelSource ModelToProto(const std::string& model) {
  v1::ModelSource source;
  if (NamesUpload(model, "models/")) {
    source.set_uploaded(model);
  } else {
    source.set_path(model);
  }
  return source;
}

v1::DatasetSource DatasetToProto(std::string_view text) {
  v1::DatasetSource source;
  if (text.starts_with(kBuiltin)) {
    source.set_builtin(std::string(text.substr(kBuiltin.size())));
  } else if (NamesUpload(text, "datasets/")) {
    source.set_uploaded(std::string(text));
  } else {
    source.set_path(std::string(text));
  }
  return source;
}

v1::Evaluation EvaluationToProto(const QuantizeRequest& request) {
  v1::Evaluation message;
  *message.mutable_dataset() = DatasetToProto(request.evaluation.text);
  message.set_text_field(request.evaluation.text_field);
  message.set_chat_template(request.evaluation.chat_template);
  message.set_disabled(!request.evaluation.enabled);
  message.set_windows(request.evaluation.windows);
  message.set_sequence_length(request.evaluation.tokens_per_window);
  message.set_logits_windows(request.evaluation.logits_windows);
  message.set_analyze(request.evaluation.analyze);
  const QualityGate& gate = request.gate;
  if (gate != QualityGate{}) message.mutable_gate();
  if (gate.max_perplexity_ratio) {
    message.mutable_gate()->set_max_perplexity_ratio(*gate.max_perplexity_ratio);
  }
  if (gate.max_mean_kl) message.mutable_gate()->set_max_mean_kl(*gate.max_mean_kl);
  if (gate.min_top1_agreement) {
    message.mutable_gate()->set_min_top1_agreement(*gate.min_top1_agreement);
  }
  return message;
}

void FindUnknownFields(const google::protobuf::Message& message, const std::string& path,
                       std::vector<Violation>& found) {
  const auto* reflection = message.GetReflection();
  const auto& unknown = reflection->GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    found.push_back({.where = path,
                     .got = absl::StrCat("field number ", unknown.field(i).number()),
                     .wanted = "fields of " + message.GetDescriptor()->full_name()});
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    // Parsing a map keeps nothing of its entries but key and value.
    if (field->is_map() && field->message_type()->map_value()->message_type() == nullptr) continue;
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const std::string below = path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
    if (!field->is_repeated()) {
      FindUnknownFields(reflection->GetMessage(message, field), below, found);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      FindUnknownFields(reflection->GetRepeatedMessage(message, field, i),
                        absl::StrCat(below, "[", i, "]"), found);
    }
  }
}

}  // namespace

v1::JobSpec ToProto(const QuantizeRequest& request) {
  v1::JobSpec spec;
  *spec.mutable_model() = ModelToProto(request.model_folder);
  *spec.mutable_recipe() = ToProto(request.recipe);
  v1::Calibration* calibration = spec.mutable_calibration();
  *calibration->mutable_dataset() = DatasetToProto(request.calibration.text);
  calibration->set_text_field(request.calibration.text_field);
  calibration->set_chat_template(request.calibration.chat_template);
  if (request.calibration.samples > 0) calibration->set_samples(request.calibration.samples);
  calibration->set_sequence_length(request.calibration.tokens_per_sample);
  calibration->set_seed(request.calibration.seed);
  *spec.mutable_evaluation() = EvaluationToProto(request);
  v1::Output* output = spec.mutable_output();
  output->set_format(request.output.format);
  output->set_loader(request.output.loader);
  output->set_shard_bytes(request.output.shard_bytes);
  output->set_tensor_parallel(request.output.tensor_parallel);
  v1::Resources* resources = spec.mutable_resources();
  resources->set_backend(BackendByName(request.resources.backend));
  resources->set_max_memory_bytes(request.resources.max_memory_bytes);
  resources->set_threads(request.resources.threads);
  resources->set_compute(
      ToWire(kComputeTypes, request.resources.compute, v1::COMPUTE_TYPE_UNSPECIFIED));
  return spec;
}

absl::StatusOr<QuantizeRequest> FromProto(const v1::JobSpec& spec, std::string_view path) {
  QD_RETURN_IF_ERROR(CheckNoUnknownFields(spec, path));
  FieldChecks checks(path);
  QuantizeRequest request;
  QD_ASSIGN_OR_RETURN(request.model_folder, ReadModel(spec.model(), checks));
  auto recipe = FromProto(spec.recipe(), checks.Path("recipe"));
  checks.Collect(recipe.status());
  if (recipe.ok()) request.recipe = *std::move(recipe);
  QD_RETURN_IF_ERROR(ReadCalibration(spec.calibration(), request.calibration, checks));
  QD_RETURN_IF_ERROR(ReadEvaluation(spec.evaluation(), request, checks));
  QD_RETURN_IF_ERROR(ReadOutput(spec.output(), request.output, checks));
  ReadResources(spec.resources(), request.resources, checks);
  QD_RETURN_IF_ERROR(checks.Finish());
  return request;
}

v1::BackendKind BackendByName(std::string_view name) {
  return ToWire(kBackends, name, v1::BACKEND_KIND_UNSPECIFIED);
}

std::string_view NameOf(v1::BackendKind backend) {
  return FromWire(kBackends, backend).value_or("");
}

absl::Status CheckNoUnknownFields(const google::protobuf::Message& message, std::string_view path) {
  std::vector<Violation> found;
  FindUnknownFields(message, std::string(path), found);
  if (found.empty()) return absl::OkStatus();
  return MakeError(Reason::kUnknownField, "refused", std::move(found));
}

}  // namespace quantd
