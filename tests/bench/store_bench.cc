// How CreateJob and ListJobs through a real server in this process slow down as the store fills:
// medians with few jobs and with many, and their ratio. Prints one JSON object.
//
//   store_bench [MODEL [JOBS]]
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "proto/grpc_status.h"
#include "quantd/v1/quantization_service.grpc.pb.h"
#include "server/api/server.h"

namespace quantd {
namespace {

constexpr int kCalls = 60;

class Bench {
 public:
  explicit Bench(std::string model) : model_(std::move(model)) {}

  absl::Status Open() {
    QD_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::Create("store-bench"));
    folder_ = std::make_unique<TemporaryFolder>(std::move(folder));
    ServerOptions options;
    options.data = folder_->path() + "/data";
    options.model_roots = {model_};
    options.limits.queue_length = options.limits.open_jobs = 1'000'000;
    QD_ASSIGN_OR_RETURN(server_, Server::Start(options));
    users_ = v1::QuantizationService::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->grpc_port()), grpc::InsecureChannelCredentials()));
    return absl::OkStatus();
  }

  absl::Status Create() {
    grpc::ClientContext context;
    v1::CreateJobRequest request;
    request.mutable_job()->mutable_spec()->mutable_model()->set_path(model_);
    request.mutable_job()->mutable_spec()->mutable_evaluation()->set_disabled(true);
    auto* scheme =
        request.mutable_job()->mutable_spec()->mutable_recipe()->mutable_default_scheme();
    scheme->set_method("rtn");
    scheme->set_group_size(32);
    (*request.mutable_job()->mutable_labels())["n"] = absl::StrCat(made_++ % 100);
    v1::Job job;
    return FromGrpc(users_->CreateJob(&context, request, &job));
  }

  absl::Status List(const std::string& filter) {
    grpc::ClientContext context;
    v1::ListJobsRequest request;
    request.set_page_size(50);
    request.set_filter(filter);
    v1::ListJobsResponse response;
    return FromGrpc(users_->ListJobs(&context, request, &response));
  }

  // Median milliseconds of a call.
  static absl::StatusOr<double> Median(const std::function<absl::Status()>& call) {
    std::vector<double> milliseconds;
    for (int i = 0; i < kCalls; ++i) {
      const absl::Time start = absl::Now();
      QD_RETURN_IF_ERROR(call());
      milliseconds.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
    }
    std::nth_element(milliseconds.begin(), milliseconds.begin() + kCalls / 2, milliseconds.end());
    return milliseconds[kCalls / 2];
  }

  absl::StatusOr<Json> Measure() {
    Json figures = Json::object();
    QD_ASSIGN_OR_RETURN(figures["create_job_ms"], Median([&] { return Create(); }));
    QD_ASSIGN_OR_RETURN(figures["list_jobs_ms"], Median([&] { return List(""); }));
    QD_ASSIGN_OR_RETURN(figures["list_jobs_by_state_ms"],
                        Median([&] { return List("state = PENDING"); }));
    QD_ASSIGN_OR_RETURN(figures["list_jobs_by_label_ms"],
                        Median([&] { return List("labels.n = 7"); }));
    return figures;
  }

 private:
  const std::string model_;
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::QuantizationService::Stub> users_;
  int made_ = 0;
};

absl::StatusOr<Json> Run(const std::string& model, int jobs) {
  QD_ASSIGN_OR_RETURN(const std::string resolved, RealPath(model));
  Bench bench(resolved);
  QD_RETURN_IF_ERROR(bench.Open());
  // The first calls pay for connections, statements and caches.
  for (int i = 0; i < 60; ++i) {
    QD_RETURN_IF_ERROR(bench.Create());
    QD_RETURN_IF_ERROR(bench.List(""));
  }
  QD_ASSIGN_OR_RETURN(const Json few, bench.Measure());
  for (int i = 0; i < jobs; ++i) QD_RETURN_IF_ERROR(bench.Create());
  QD_ASSIGN_OR_RETURN(const Json many, bench.Measure());
  Json ratio = Json::object();
  for (const auto& [name, value] : few.items()) {
    ratio[name.substr(0, name.size() - 3)] = many[name].get<double>() / value.get<double>();
  }
  return Json{{"jobs", jobs}, {"few", few}, {"many", many}, {"ratio", ratio}};
}

}  // namespace
}  // namespace quantd

int main(int argc, char** argv) {
  const std::string model = argc > 1 ? argv[1] : "models/books-3m";
  const int jobs = argc > 2 ? std::atoi(argv[2]) : 10'000;
  spdlog::set_level(spdlog::level::warn);
  const auto figures = quantd::Run(model, jobs);
  if (!figures.ok()) {
    std::fprintf(stderr, "store_bench: %s\n", std::string(figures.status().message()).c_str());
    return 1;
  }
  std::printf("%s", quantd::DumpJsonPretty(*figures).c_str());
  return 0;
}
