#include "server/api/job_messages.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/convert.h"
#include "proto/enum_map.h"

namespace quantd {
namespace {

constexpr EnumMap<JobState, v1::Job::State, 6> kStates = {
    {{JobState::kPending, v1::Job::PENDING},
     {JobState::kRunning, v1::Job::RUNNING},
     {JobState::kCancelling, v1::Job::CANCELLING},
     {JobState::kSucceeded, v1::Job::SUCCEEDED},
     {JobState::kFailed, v1::Job::FAILED},
     {JobState::kCancelled, v1::Job::CANCELLED}}};

absl::Status ToStatus(const Failure& failure) {
  return ErrorFromParts(failure.reason, failure.message, failure.violations);
}

}  // namespace

std::string JobName(std::string_view id) { return absl::StrCat("jobs/", ToAbsl(id)); }

std::string WorkerName(std::string_view id) {
  return id.empty() ? "" : absl::StrCat("workers/", ToAbsl(id));
}

v1::Job::State ToProto(JobState state) {
  return ToWire(kStates, state, v1::Job::STATE_UNSPECIFIED);
}

v1::JobError ToProto(const Failure& failure) { return ToProto(ToStatus(failure)); }

Failure FailureFromProto(const v1::JobError& error) {
  Failure failure{.reason = error.reason(), .message = error.message()};
  for (const auto& entry : error.violations()) {
    failure.violations.push_back(
        {.where = entry.where(), .got = entry.got(), .wanted = entry.wanted()});
  }
  return failure;
}

v1::Job ToProto(const Job& job, const JobDetail* detail) {
  v1::Job message;
  message.set_name(JobName(job.id));
  for (const auto& [key, value] : job.labels) (*message.mutable_labels())[key] = value;
  if (detail != nullptr) message.mutable_spec()->ParseFromString(job.spec);
  message.set_state(ToProto(job.state));
  *message.mutable_create_time() = ToProto(job.create_time);
  if (job.start_time) *message.mutable_start_time() = ToProto(*job.start_time);
  if (job.end_time) *message.mutable_end_time() = ToProto(*job.end_time);
  message.set_attempts(job.attempts);
  if (!job.progress.empty()) message.mutable_progress()->ParseFromString(job.progress);
  // Bytes of two messages, one after the other, are the bytes of their merger.
  message.mutable_plan()->ParseFromString(detail != nullptr ? job.plan + detail->plan : job.plan);
  if (!job.result.empty()) {
    message.mutable_result()->ParseFromString(detail != nullptr ? job.result + detail->result
                                                                : job.result);
  }
  if (job.failure) *message.mutable_error() = ToProto(*job.failure);
  message.set_last_sequence(job.last_sequence);
  message.set_worker(WorkerName(job.worker));
  message.set_method(job.method);
  message.set_model(job.model);
  message.set_tenant(job.tenant);
  return message;
}

v1::Webhook ToProto(const Webhook& webhook) {
  v1::Webhook message;
  message.set_url(webhook.url);
  for (const JobState state : webhook.states) message.add_states(ToProto(state));
  return message;
}

absl::StatusOr<v1::Job> WholeJob(StoreReader& store, const Job& job) {
  QD_ASSIGN_OR_RETURN(const JobDetail detail, store.GetJobDetail(job));
  QD_ASSIGN_OR_RETURN(const std::vector<Webhook> webhooks, store.ListWebhooks(job));
  v1::Job message = ToProto(job, &detail);
  for (const Webhook& webhook : webhooks) *message.add_webhooks() = ToProto(webhook);
  return message;
}

v1::JobEvent ToProto(const Event& event) {
  v1::JobEvent message;
  message.set_sequence(event.sequence);
  *message.mutable_time() = ToProto(event.time);
  message.set_attempt(event.attempt);
  switch (event.kind) {
    case Event::Kind::kStateChange: {
      v1::StateChange* change = message.mutable_state_change();
      change->set_state(ToProto(event.state));
      change->set_attempts(event.attempt);
      change->set_worker(WorkerName(event.worker));
      if (event.failure) *change->mutable_error() = ToProto(*event.failure);
      break;
    }
    case Event::Kind::kProgress:
      message.mutable_progress()->ParseFromString(event.body);
      break;
    case Event::Kind::kLayer:
      message.mutable_layer()->ParseFromString(event.body);
      break;
    case Event::Kind::kFile:
      message.mutable_file_sealed()->ParseFromString(event.body);
      break;
    case Event::Kind::kWarning:
      message.mutable_warning()->ParseFromString(event.body);
      break;
    case Event::Kind::kResult:
      message.mutable_result()->ParseFromString(event.body);
      break;
  }
  return message;
}

v1::ArtifactFile ToProto(const ArtifactFile& file) {
  v1::ArtifactFile message;
  message.set_path(file.path);
  message.set_bytes(file.bytes);
  message.set_sha256(file.sha256);
  return message;
}

v1::Plan ToProto(const Plan& plan) {
  v1::Plan message;
  message.set_family(plan.model.family);
  message.set_parameters(plan.model.parameters);
  message.set_blocks(static_cast<int64_t>(plan.model.blocks.size()));
  message.set_bytes_original(plan.bytes_original);
  message.set_artifact_bytes(plan.bytes_quantized);
  message.set_bits_per_weight(plan.bits_per_weight);
  message.set_calibration_windows(plan.calibration_windows);
  message.set_peak_memory_bytes(plan.peak_memory_bytes);
  *message.mutable_estimated_run_time() = ToProto(absl::Seconds(plan.estimated_seconds));
  message.set_needs_forward(plan.needs_forward);
  message.set_format(std::string(plan.format->name));
  for (const std::string& warning : plan.warnings) message.add_warnings(warning);
  for (const ResolvedLinear& resolved : plan.linears) {
    v1::ResolvedLinear* linear = message.add_linears();
    linear->set_name(resolved.linear->name);
    linear->set_out_features(resolved.linear->out_features);
    linear->set_in_features(resolved.linear->in_features);
    if (resolved.scheme) *linear->mutable_scheme() = ToProto(*resolved.scheme);
  }
  int64_t tensors = 0;
  for (const PlannedShard& planned : plan.shards) {
    v1::PlannedShard* shard = message.add_shards();
    shard->set_path(planned.file);
    shard->set_tensors(static_cast<int64_t>(planned.tensors.size()));
    int64_t bytes = 0;
    for (const TensorInfo& tensor : planned.tensors) bytes += tensor.bytes();
    shard->set_bytes(bytes);
    tensors += shard->tensors();
  }
  message.set_tensors(tensors);
  return message;
}

SplitMessage Split(v1::Plan plan) {
  v1::Plan lists;
  lists.mutable_linears()->Swap(plan.mutable_linears());
  lists.mutable_shards()->Swap(plan.mutable_shards());
  return {.head = plan.SerializeAsString(), .tail = lists.SerializeAsString()};
}

SplitMessage Split(v1::JobResult result) {
  v1::JobResult lists;
  lists.mutable_files()->Swap(result.mutable_files());
  lists.mutable_resolved_recipe()->Swap(result.mutable_resolved_recipe());
  lists.mutable_cache()->Swap(result.mutable_cache());
  return {.head = result.SerializeAsString(), .tail = lists.SerializeAsString()};
}

std::string DeterministicBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace quantd
