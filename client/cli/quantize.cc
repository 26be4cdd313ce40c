// quantctl quantize, quantctl validate.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "client/cli/asked_spec.h"
#include "client/cli/command.h"
#include "client/cli/follow.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "client/cli/out_folder.h"
#include "client/cli/push.h"
#include "engine/flags/quantize_flags.h"

namespace quantd {
namespace {

// Version 4, RFC 4122.
std::string RandomUuid() {
  std::random_device device;
  std::mt19937_64 random((uint64_t{device()} << 32) | device());
  const uint64_t high = (random() & ~uint64_t{0xF000}) | 0x4000;
  const uint64_t low = (random() & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFF);
}

// The server may run in another folder, so a path is made absolute here. "models/ID" is an upload,
// if there is one; where a folder is called so too, people are told which was taken.
absl::StatusOr<std::string> ModelName(Session& session, const std::string& model) {
  for (const std::string scheme : {"s3://", "hf://"}) {
    if (model.starts_with(scheme)) {
      return MakeError(Reason::kUnimplemented, "this source of models is not built yet",
                       Violation{.where = "MODEL", .got = model, .wanted = "a folder"});
    }
  }
  const bool here = std::filesystem::exists(model);
  if (model.starts_with("models/") && model.find('/', sizeof("models")) == std::string::npos &&
      (!here || session.connection().GetUpload(model).ok())) {
    if (here && !session.json()) {
      session.err() << "Taking the upload " << model << "; the folder here is ./" << model << "\n";
    }
    return model;
  }
  std::filesystem::path path = std::filesystem::absolute(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.string();
}

// What both commands ask the server.
class RequestFlags {
 public:
  explicit RequestFlags(CLI::App& app) : quantization_(app) {
    app.add_option("MODEL", model_,
                   "Folder or GGUF file of the model, as the server sees it, or models/ID of one "
                   "that was sent there")
        ->required();
    app.add_flag("--push", push_, "MODEL lies on this machine: send it to the server first");
    app.add_option("--label", labels_, "KEY=VALUE to find the job by; repeatable")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    app.add_option("--webhook", webhooks_,
                   "URL that is told when the job has ended, where the server allows its host; "
                   "repeatable")
        ->type_name("URL")
        ->allow_extra_args(false);
    app.add_option("--priority", priority_, "Higher runs sooner, -100 to 100; default 0");
  }

  const std::string& model() const { return model_; }

  absl::StatusOr<v1::CreateJobRequest> Request(Session& session) const {
    QuantizeRequest quantization;
    QD_RETURN_IF_ERROR(quantization_.Apply(quantization));
    if (push_) {
      QD_ASSIGN_OR_RETURN(const PushedUpload pushed, PushModel(session, model_, ""));
      quantization.model_folder = pushed.upload.name();
    } else {
      QD_ASSIGN_OR_RETURN(quantization.model_folder, ModelName(session, model_));
    }
    v1::CreateJobRequest request;
    request.set_request_id(RandomUuid());
    v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
    spec = AskedSpec(quantization, quantization_.Said());
    if (priority_) spec.mutable_resources()->set_priority(*priority_);
    for (const std::string& url : webhooks_) request.mutable_job()->add_webhooks()->set_url(url);
    for (const std::string& label : labels_) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(label, absl::MaxSplits('=', 1));
      if (parts.first.empty() || label.find('=') == std::string::npos) {
        return MakeError(Reason::kInvalidField, "not a label",
                         Violation{.where = "--label", .got = label, .wanted = "KEY=VALUE"});
      }
      (*request.mutable_job()->mutable_labels())[parts.first] = parts.second;
    }
    return request;
  }

 private:
  QuantizeFlags quantization_;
  std::string model_;
  bool push_ = false;
  std::vector<std::string> labels_, webhooks_;
  std::optional<int> priority_;
};

absl::StatusOr<v1::Job> Planned(Session& session, v1::CreateJobRequest request) {
  request.set_validate_only(true);
  request.clear_request_id();
  return session.connection().CreateJob(request);
}

absl::StatusOr<ExitCode> PrintPlan(Session& session, const v1::CreateJobRequest& request) {
  QD_ASSIGN_OR_RETURN(const v1::Job job, Planned(session, request));
  if (session.json()) {
    QD_ASSIGN_OR_RETURN(const Json json, MessageJson(job.plan()));
    session.PrintJson(json);
  } else {
    session.out() << PlanText(job.plan());
  }
  return ExitCode::kDone;
}

// Bits of most of the weights that are quantized.
int MostBits(const v1::Plan& plan) {
  std::map<int, int64_t> weights;
  for (const v1::ResolvedLinear& linear : plan.linears()) {
    if (!linear.has_scheme()) continue;
    weights[linear.scheme().bits()] += linear.out_features() * linear.in_features();
  }
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  return most == weights.end() ? 16 : most->first;
}

class Quantize : public Command {
 public:
  explicit Quantize(CLI::App& app) : request_(app) {
    app.add_option("--out", out_,
                   "Folder for the result; default ./MODEL-METHOD-BITSbit. Must be new or empty")
        ->type_name("DIR");
    app.add_flag("--force", force_,
                 "Write into --out although it has files; an older result goes first");
    app.add_flag("--detach", detach_, "Print the job's name and leave");
    app.add_flag("--dry-run", dry_run_, "Only check the request and print the plan");
    app.add_flag("--no-cache", no_cache_,
                 "Do the work even if an identical request was made before");
    app.add_flag("-v,--verbose", layers_, "One line per linear");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(v1::CreateJobRequest request, request_.Request(session));
    request.set_no_cache(no_cache_);
    if (dry_run_) return PrintPlan(session, request);
    std::string out = out_;
    if (!detach_) {
      QD_ASSIGN_OR_RETURN(out, OutFolder(session, request));
      if (!force_) QD_RETURN_IF_ERROR(CheckOutFolder(out, {}));
    }
    QD_ASSIGN_OR_RETURN(const v1::Job job, session.connection().CreateJob(request));
    if (job.reused() && !session.json()) {
      session.err() << "An identical request made " << job.name()
                    << " before; --no-cache does the work again\n";
    }
    if (detach_) return PrintDetached(session, job);
    if (!job.reused()) session.err() << job.name() << " submitted\n";
    if (force_) QD_RETURN_IF_ERROR(ReplaceOlderResult(out, {}));
    return FollowToEnd(session, {.job = job.name(), .out = out, .layers = layers_});
  }

 private:
  absl::StatusOr<std::string> OutFolder(Session& session,
                                        const v1::CreateJobRequest& request) const {
    if (!out_.empty()) return out_;
    const v1::Scheme& scheme = request.job().spec().recipe().default_scheme();
    int bits = scheme.bits();
    std::string method = scheme.method();
    if (!scheme.has_bits() || method.empty()) {
      // Defaults are the server's to know.
      QD_ASSIGN_OR_RETURN(const v1::Job job, Planned(session, request));
      bits = MostBits(job.plan());
      method = job.method();
    }
    const v1::ModelSource& model = request.job().spec().model();
    return DefaultOutFolder(model.has_uploaded() ? model.uploaded() : model.path(), method, bits);
  }

  static absl::StatusOr<ExitCode> PrintDetached(Session& session, const v1::Job& job) {
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json json, MessageJson(job));
      session.PrintJson(json);
    } else {
      session.out() << job.name() << "\n";
      session.err() << "follow it:  " << session.CommandLine("jobs watch " + job.name()) << "\n";
    }
    return ExitCode::kDone;
  }

  RequestFlags request_;
  std::string out_;
  bool force_ = false, detach_ = false, dry_run_ = false, no_cache_ = false, layers_ = false;
};

class Validate : public Command {
 public:
  explicit Validate(CLI::App& app) : request_(app) {}
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const v1::CreateJobRequest request, request_.Request(session));
    return PrintPlan(session, request);
  }

 private:
  RequestFlags request_;
};

}  // namespace

std::unique_ptr<Command> MakeQuantize(CLI::App& app) { return std::make_unique<Quantize>(app); }
std::unique_ptr<Command> MakeValidate(CLI::App& app) { return std::make_unique<Validate>(app); }

}  // namespace quantd
