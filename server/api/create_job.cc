#include "server/api/create_job.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/method/auto.h"
#include "engine/method/registry.h"
#include "engine/plan/plan.h"
#include "proto/convert.h"
#include "proto/convert_time.h"
#include "proto/field_checks.h"
#include "server/api/job_inputs.h"
#include "server/api/job_messages.h"
#include "server/api/request_checks.h"
#include "server/api/result_key.h"
#include "server/api/webhooks.h"
#include "server/id.h"

namespace quantd {
namespace {

constexpr char kDefaultMethod[] = "rtn";

std::string BodyDigest(const v1::Job& job) {
  v1::Job asked;
  *asked.mutable_labels() = job.labels();
  *asked.mutable_spec() = job.spec();
  *asked.mutable_webhooks() = job.webhooks();
  return Sha256Hex(DeterministicBytes(asked));
}

absl::Status CheckSize(const v1::JobSpec& spec, const Limits& limits) {
  if (spec.ByteSizeLong() > static_cast<size_t>(limits.spec_bytes)) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "job.spec",
                               .got = absl::StrCat(spec.ByteSizeLong(), " bytes"),
                               .wanted = absl::StrCat("at most ", limits.spec_bytes)});
  }
  if (spec.recipe().overrides_size() > limits.overrides) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "job.spec.recipe.overrides",
                               .got = absl::StrCat(spec.recipe().overrides_size()),
                               .wanted = absl::StrCat("at most ", limits.overrides)});
  }
  if (FromProto(spec.resources().max_run_time()) > limits.max_run_time) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{.where = "job.spec.resources.max_run_time",
                  .got = absl::FormatDuration(FromProto(spec.resources().max_run_time())),
                  .wanted = "at most " + absl::FormatDuration(limits.max_run_time)});
  }
  return absl::OkStatus();
}

// Replaces every path of the request, and of the spec that the worker gets, by its resolved form.
// Where links lead by the time that a file is opened is looked at then, here and by the worker:
// QuantizeRequest::model_roots.
absl::Status ResolvePaths(const ApiContext& api, QuantizeRequest& request, v1::JobSpec& spec) {
  if (spec.model().has_path()) {
    QD_ASSIGN_OR_RETURN(request.model_folder,
                        ResolveAllowedPath("job.spec.model.path", request.model_folder,
                                           api.model_roots, Reason::kModelNotFound));
    spec.mutable_model()->set_path(request.model_folder);
  }
  if (spec.calibration().dataset().has_path()) {
    QD_ASSIGN_OR_RETURN(
        request.calibration.text,
        ResolveAllowedPath("job.spec.calibration.dataset.path", request.calibration.text,
                           api.model_roots, Reason::kDatasetInvalid));
    spec.mutable_calibration()->mutable_dataset()->set_path(request.calibration.text);
  }
  if (spec.evaluation().dataset().has_path()) {
    QD_ASSIGN_OR_RETURN(
        request.evaluation.text,
        ResolveAllowedPath("job.spec.evaluation.dataset.path", request.evaluation.text,
                           api.model_roots, Reason::kDatasetInvalid));
    spec.mutable_evaluation()->mutable_dataset()->set_path(request.evaluation.text);
  }
  return absl::OkStatus();
}

Task TaskOf(const Job& job, const v1::JobSpec& spec, const QuantizeRequest& request,
            const Plan& plan, const Limits& limits) {
  Task task;
  task.id = job.id + "-1";
  task.job_id = job.id;
  task.tenant = job.tenant;
  task.priority = spec.resources().priority();
  task.queued_time = job.create_time;
  task.backend = request.resources.backend;
  task.memory_bytes = request.resources.max_memory_bytes > 0
                          ? std::min(plan.peak_memory_bytes, request.resources.max_memory_bytes)
                          : plan.peak_memory_bytes;
  const absl::Duration run_time = FromProto(spec.resources().max_run_time());
  task.max_run_time = run_time > absl::ZeroDuration() ? run_time : limits.max_run_time;
  const absl::Duration queue_time = FromProto(spec.resources().max_queue_time());
  if (queue_time > absl::ZeroDuration()) task.max_queue_time = queue_time;
  task.stall_limit = StallLimit(absl::Seconds(plan.estimated_seconds),
                                static_cast<int64_t>(plan.model.blocks.size()), limits);
  return task;
}

// The job that was made for the request id before, if any. ALREADY_EXISTS if it was made for
// another body.
absl::StatusOr<std::optional<Job>> FindEarlier(StoreReader& store, const std::string& tenant,
                                               const std::string& request_id,
                                               const std::string& body) {
  if (request_id.empty()) return std::optional<Job>();
  QD_ASSIGN_OR_RETURN(const auto record, store.FindRequest(tenant, request_id));
  if (!record.has_value()) return std::optional<Job>();
  if (record->body_sha256 != body) {
    return MakeError(Reason::kAlreadyExists, "the request id was used for another job",
                     Violation{.where = "request_id",
                               .got = request_id + ", of " + JobName(record->job_id),
                               .wanted = "a new UUID, or the same job"});
  }
  QD_ASSIGN_OR_RETURN(Job job, store.GetJob(record->job_id));
  return std::optional<Job>(std::move(job));
}

// Answers with the job of an earlier call with the same request id. False: there was none.
absl::StatusOr<bool> AnswerEarlier(ApiContext& api, const std::string& tenant,
                                   const std::string& request_id, const std::string& body,
                                   v1::Job* response) {
  using Answer = std::optional<v1::Job>;
  const auto look = [&](StoreReader& store) -> absl::StatusOr<Answer> {
    QD_ASSIGN_OR_RETURN(const auto earlier, FindEarlier(store, tenant, request_id, body));
    if (!earlier.has_value()) return Answer();
    QD_ASSIGN_OR_RETURN(v1::Job job, WholeJob(store, *earlier));
    return Answer(std::move(job));
  };
  QD_ASSIGN_OR_RETURN(Answer answer, ReadResult(api.store, look));
  if (!answer.has_value()) return false;
  *response = *std::move(answer);
  return true;
}

absl::Status CheckQueue(StoreReader& store, const std::string& tenant, const Limits& limits) {
  QueueCounts counts;
  QD_ASSIGN_OR_RETURN(counts.pending, store.CountPendingTasks());
  QD_ASSIGN_OR_RETURN(counts.pending_of_tenant, store.CountPendingTasksOf(tenant));
  QD_ASSIGN_OR_RETURN(counts.open, store.CountOpenJobs());
  return CheckRoom(counts, limits);
}

// The rows that options are checked against: those of `method`, and of the one that it hands
// options on to.
std::vector<OptionRow> RowsFor(const Method& method, const Options& options) {
  std::vector<OptionRow> rows;
  const auto add = [&](const Method& from) {
    std::copy_if(from.options.begin(), from.options.end(), std::back_inserter(rows),
                 [](const OptionRow& row) { return !IsSchemeField(row.name); });
  };
  add(method);
  if (method.name != kAuto.name) return rows;
  const std::string asked = options.Text(kAutoBase);
  const std::string_view by_default = FindOption(method.options, kAutoBase)->fallback;
  if (const Method* base = FindMethod(asked.empty() ? by_default : asked)) add(*base);
  return rows;
}

void CheckOptions(const std::string& field, const Method& method, const Options& options,
                  FieldChecks& checks) {
  const std::vector<OptionRow> rows = RowsFor(method, options);
  std::string known;
  for (const OptionRow& row : rows) {
    absl::StrAppend(&known, known.empty() ? "one of " : ", ", ToAbsl(row.name));
  }
  for (const auto& [name, value] : options.values()) {
    const std::string where = absl::StrCat(field, ".options.", name.substr(0, 80));
    const OptionRow* row = FindOption(rows, name);
    if (row == nullptr) {
      checks.Wrong(where, absl::StrCat("no option of ", ToAbsl(method.name)),
                   known.empty() ? "no options" : known);
      continue;
    }
    for (const Violation& violation : ViolationsOf(CheckOption(*row, value).status())) {
      checks.Wrong(where, violation.got.substr(0, 100), violation.wanted);
    }
  }
}

// Methods that there are not, and options that they do not have or that are out of their range, are
// told by the field that names them, once, rather than for every linear.
absl::Status CheckMethods(const Recipe& recipe) {
  std::string known;
  for (const Method& method : Methods()) {
    absl::StrAppend(&known, known.empty() ? "one of " : ", ", ToAbsl(method.name));
  }
  FieldChecks checks("job.spec.recipe");
  const std::string by_default = recipe.default_scheme.method.value_or(kDefaultMethod);
  const auto check = [&](const std::string& field, const SchemeRequest& scheme) {
    const Method* method = FindMethod(scheme.method.value_or(by_default));
    if (method != nullptr) {
      CheckOptions(field, *method, scheme.options, checks);
    } else if (scheme.method.has_value()) {
      checks.Wrong(field + ".method", scheme.method->substr(0, 100), known);
    }
  };
  check("default_scheme", recipe.default_scheme);
  for (size_t i = 0; i < recipe.overrides.size(); ++i) {
    check(absl::StrCat("overrides[", i, "].scheme"), recipe.overrides[i].scheme);
  }
  return checks.Finish(Reason::kRecipeInvalid);
}

struct MadeJob {
  v1::JobSpec spec;        // with its paths resolved
  std::string result_key;  // what identical requests have in common; empty: nobody may share it
  Job job;
  JobDetail detail;
  Task task;
  std::vector<Webhook> webhooks;
};

// What the transaction did: made the job, or found one of an identical request; or neither, when
// the same call had come before.
struct Added {
  std::optional<Job> job;
  std::optional<std::string> reused;  // its id
  AfterCommit after;
};

// A file of the model that a link leads out of the allowed folders, by the field that names the
// model.
absl::Status ByField(const absl::Status& status, const std::string& model_folder) {
  if (ReasonOf(status) != Reason::kModelOutsideRoots) return status;
  std::vector<Violation> violations = ViolationsOf(status);
  for (Violation& violation : violations) {
    if (!violation.where.starts_with(model_folder + "/")) continue;
    violation.got = absl::StrCat(violation.where, ": ", violation.got);
    violation.where = "job.spec.model.path";
  }
  return MakeError(Reason::kModelOutsideRoots, "refused", std::move(violations));
}

// Checks the request in full; no side effect.
absl::StatusOr<MadeJob> MakeJob(const ApiContext& api, const std::string& tenant,
                                const v1::CreateJobRequest& asked_for) {
  const v1::Job& asked = asked_for.job();
  QD_RETURN_IF_ERROR(CheckSize(asked.spec(), api.limits));
  MadeJob made;
  QD_ASSIGN_OR_RETURN(made.job.labels, CheckLabels(asked.labels(), api.limits));
  QD_ASSIGN_OR_RETURN(made.webhooks, WebhooksOf(asked.webhooks(), api));
  v1::JobSpec spec = asked.spec();
  QD_ASSIGN_OR_RETURN(QuantizeRequest request, FromProto(spec));
  QD_RETURN_IF_ERROR(CheckMethods(request.recipe));
  QD_RETURN_IF_ERROR(ResolvePaths(api, request, spec));
  request.model_roots = api.model_roots;
  made.job.model = request.model_folder;
  QD_ASSIGN_OR_RETURN(const PlanInputs inputs, OpenPlanInputs(api, tenant, spec, request));
  const auto planning = api.plan(request, inputs.model);
  QD_RETURN_IF_ERROR(ByField(planning.status(), request.model_folder));
  const auto& planned = *planning;
  SplitMessage plan = Split(ToProto(planned->plan));
  made.job.id = NewId();
  made.job.method = request.recipe.default_scheme.method.value_or(kDefaultMethod);
  made.job.tenant = tenant;
  made.job.spec = DeterministicBytes(spec);
  made.job.plan = std::move(plan.head);
  made.detail.plan = std::move(plan.tail);
  made.job.create_time = api.clock.Now();
  made.task = TaskOf(made.job, spec, request, planned->plan, api.limits);
  if (api.result_cache && !asked_for.no_cache() && !asked_for.validate_only()) {
    QD_ASSIGN_OR_RETURN(made.result_key, ResultKey(spec, *planned, inputs.uploads));
  }
  made.spec = std::move(spec);
  return made;
}

// Another call with the same id, or an identical request, may have come while this one was
// planning.
absl::StatusOr<Added> AddOrFind(const ApiContext& api, StoreTransaction& store,
                                const v1::CreateJobRequest& request, const std::string& body,
                                const MadeJob& made) {
  Added added;
  const std::string& tenant = made.job.tenant;
  QD_ASSIGN_OR_RETURN(const auto earlier, FindEarlier(store, tenant, request.request_id(), body));
  if (earlier.has_value()) return added;
  if (!made.result_key.empty()) {
    QD_ASSIGN_OR_RETURN(added.reused, store.FindResult(tenant, made.result_key));
  }
  if (added.reused.has_value()) {
    QD_ASSIGN_OR_RETURN(const Job job, store.GetJob(*added.reused));
    QD_RETURN_IF_ERROR(AddWebhooks(store, job, made.webhooks, api.limits, made.job.create_time));
  } else {
    QD_RETURN_IF_ERROR(CheckQueue(store, tenant, api.limits));
    Task task = made.task;
    QD_RETURN_IF_ERROR(
        AddJob(store, added.job.emplace(made.job), made.detail, task, made.webhooks, added.after));
    QD_RETURN_IF_ERROR(HoldInputs(store, *added.job, made.spec));
    if (!made.result_key.empty()) {
      QD_RETURN_IF_ERROR(store.InsertResult(*added.job, made.result_key));
    }
  }
  if (request.request_id().empty()) return added;
  QD_RETURN_IF_ERROR(store.InsertRequest({.tenant = tenant,
                                          .request_id = request.request_id(),
                                          .job_id = added.reused.value_or(made.job.id),
                                          .body_sha256 = body}));
  return added;
}

absl::Status AnswerReused(ApiContext& api, const std::string& id, const Job& asked,
                          v1::Job* response) {
  QD_ASSIGN_OR_RETURN(*response,
                      ReadResult(api.store, [&](StoreReader& store) -> absl::StatusOr<v1::Job> {
                        QD_ASSIGN_OR_RETURN(const Job job, store.GetJob(id));
                        return WholeJob(store, job);
                      }));
  response->set_reused(true);
  api.metrics.ResultReused();
  spdlog::info("job {} answers an identical request: {} of {}", id, asked.method, asked.model);
  return absl::OkStatus();
}

v1::Job MessageOf(const Job& job, const MadeJob& made) {
  v1::Job answer = ToProto(job, &made.detail);
  for (const Webhook& webhook : made.webhooks) *answer.add_webhooks() = ToProto(webhook);
  return answer;
}

}  // namespace

absl::Status CreateJob(ApiContext& api, const Caller& caller, const v1::CreateJobRequest& request,
                       v1::Job* response) {
  if (!request.request_id().empty()) QD_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  const std::string body = BodyDigest(request.job());
  if (!request.validate_only()) {
    QD_ASSIGN_OR_RETURN(const bool answered,
                        AnswerEarlier(api, caller.tenant, request.request_id(), body, response));
    if (answered) return absl::OkStatus();
  }
  QD_ASSIGN_OR_RETURN(const MadeJob made, MakeJob(api, caller.tenant, request));
  if (request.validate_only()) {
    QD_RETURN_IF_ERROR(api.store.Read(
        [&](StoreReader& store) { return CheckQueue(store, caller.tenant, api.limits); }));
    *response = MessageOf(made.job, made);
    response->clear_name();
    response->clear_state();
    response->clear_create_time();
    return absl::OkStatus();
  }
  const auto add = [&](StoreTransaction& store) {
    return AddOrFind(api, store, request, body, made);
  };
  QD_ASSIGN_OR_RETURN(const Added added, WriteResult(api.store, add));
  api.Committed(added.after);
  if (added.reused.has_value()) return AnswerReused(api, *added.reused, made.job, response);
  if (!added.job.has_value()) {
    return AnswerEarlier(api, caller.tenant, request.request_id(), body, response).status();
  }
  spdlog::info("job {} created: {} of {}", made.job.id, made.job.method, made.job.model);
  *response = MessageOf(*added.job, made);
  return absl::OkStatus();
}

}  // namespace quantd
