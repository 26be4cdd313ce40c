// What the store knows, as messages.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/plan/plan.h"
#include "proto/convert_time.h"
#include "quantd/v1/events.pb.h"
#include "quantd/v1/job.pb.h"
#include "quantd/v1/quantization_service.pb.h"
#include "server/job.h"
#include "server/store/store.h"
#include "server/webhook.h"

namespace quantd {

std::string JobName(std::string_view id);
// "workers/{id}"; empty for no worker.
std::string WorkerName(std::string_view id);

// `detail` may be null: JOB_VIEW_BASIC, without spec and long lists.
v1::Job ToProto(const Job& job, const JobDetail* detail);
// JOB_VIEW_FULL.
absl::StatusOr<v1::Job> WholeJob(StoreReader& store, const Job& job);
v1::Job::State ToProto(JobState state);
v1::JobError ToProto(const Failure& failure);
Failure FailureFromProto(const v1::JobError& error);
v1::Webhook ToProto(const Webhook& webhook);
v1::JobEvent ToProto(const Event& event);
v1::ArtifactFile ToProto(const ArtifactFile& file);
v1::Plan ToProto(const Plan& plan);

// Cuts a message into what lists of jobs show and the long rest; see JobDetail.
struct SplitMessage {
  std::string head;
  std::string tail;
};
SplitMessage Split(v1::Plan plan);
SplitMessage Split(v1::JobResult result);

// The same bytes for the same message, whatever the order of its maps.
std::string DeterministicBytes(const google::protobuf::Message& message);

}  // namespace quantd
