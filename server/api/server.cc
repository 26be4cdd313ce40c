#include "server/api/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/stat.h>

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "server/access/access_control.h"
#include "server/api/context.h"
#include "server/api/quantization_service.h"
#include "server/api/webhooks.h"
#include "server/api/worker_service.h"
#include "server/blob_owner.h"
#include "server/blob_sweep.h"
#include "server/data_folder.h"
#include "server/reaper.h"
#include "server/store/open_store.h"
#include "server/webhooks/sender.h"

namespace quantd {
namespace {

constexpr int kStreamsPerConnection = 1000;
constexpr int kShortestPingMs = 10'000;
// unix(7): 108 with the final zero.
constexpr size_t kLongestSocketPath = 100;

absl::StatusOr<std::vector<std::string>> ResolveRoots(const std::vector<std::string>& roots) {
  std::vector<std::string> resolved;
  for (const std::string& root : roots) {
    const auto path = RealPath(root);
    if (!path.ok() || !IsFolder(*path)) {
      return MakeError(Reason::kModelNotFound, "not a folder",
                       Violation{.where = "model_root", .got = root, .wanted = "a folder"});
    }
    resolved.push_back(*path);
  }
  return resolved;
}

class RunningServer final : public Server {
 public:
  explicit RunningServer(const ServerOptions& options)
      : options_(options),
        executor_(options.threads),
        planner_(options.planners),
        hub_(executor_, *options.clock) {}

  ~RunningServer() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Open() {
    QD_ASSIGN_OR_RETURN(folder_, DataFolder::Open(options_.data));
    QD_ASSIGN_OR_RETURN(store_, OpenStore(options_.store, folder_->database_path()));
    if (options_.wrap_store != nullptr) store_ = options_.wrap_store(std::move(store_));
    const std::string blob_uri = options_.blobs.empty() ? folder_->blob_uri() : options_.blobs;
    QD_ASSIGN_OR_RETURN(blobs_, OpenBlobStore(blob_uri));
    QD_RETURN_IF_ERROR(ClaimBlobs(*store_, *blobs_, folder_->staging_path()));
    QD_RETURN_IF_ERROR(SweepBlobs(*store_, *blobs_));
    staging_ = std::make_unique<Staging>(folder_->staging_path());
    QD_ASSIGN_OR_RETURN(std::vector<std::string> roots, ResolveRoots(options_.model_roots));
    access_ = std::make_unique<AccessControl>(
        *store_, *options_.clock, options_.tokens,
        [this](std::function<void()> work) { executor_.Run(std::move(work)); });
    audit_ = std::make_unique<AuditLog>(folder_->audit_path(), *options_.clock);
    metrics_ = std::make_unique<Metrics>(*store_);
    QD_ASSIGN_OR_RETURN(metrics_port_, metrics_->Serve(options_.metrics));
    api_.reset(new ApiContext{.store = *store_,
                              .access = *access_,
                              .audit = *audit_,
                              .blobs = *blobs_,
                              .blob_uri = blob_uri,
                              .staging = *staging_,
                              .clock = *options_.clock,
                              .limits = options_.limits,
                              .metrics = *metrics_,
                              .executor = executor_,
                              .planner = planner_,
                              .hub = hub_,
                              .plan = options_.plan,
                              .model_roots = std::move(roots),
                              .webhook_hosts = options_.webhook_hosts,
                              .result_cache = options_.result_cache});
    reaper_ =
        std::make_unique<Reaper>(*store_, *blobs_, *staging_, *options_.clock, api_->limits,
                                 ReaperOptions{.sweep_period = options_.sweep_period},
                                 [this](const AfterCommit& after) { api_->Committed(after); });
    store_->Listen([this](std::string_view topic) {
      topic.empty() ? hub_.AnnounceAll() : hub_.Announce(topic);
    });
    QD_RETURN_IF_ERROR(reaper_->ExtendLeases());
    QD_RETURN_IF_ERROR(Listen());
    reaper_->Start(options_.reaper_period);
    StartSender();
    return folder_->WriteAddresses(Address(options_.listen, grpc_port_),
                                   Address(options_.metrics, metrics_port_));
  }

  int grpc_port() const override { return grpc_port_; }
  int metrics_port() const override { return metrics_port_; }
  std::string LocalAddress() const override {
    if (!local_socket_.empty()) return local_socket_;
    const std::string host = options_.listen.substr(0, options_.listen.rfind(':'));
    const bool everywhere = host == "0.0.0.0" || host == "[::]";
    return absl::StrCat(everywhere ? "127.0.0.1" : host, ":", grpc_port_);
  }
  const std::string& LocalWorkerSecret() const override { return access_->LocalWorkerSecret(); }
  std::string MetricsPage() const override { return metrics_->Page(); }

  void Shutdown(absl::Duration grace) override {
    if (down_.exchange(true)) return;
    if (grpc_ != nullptr) {
      if (auto* health = grpc_->GetHealthCheckService()) health->SetServingStatus(false);
      hub_.Stop();
      grpc_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
      grpc_->Wait();
      if (const int open = api_->streams.load(); open != 0) {
        spdlog::error("{} streams are open after the server has stopped", open);
      }
    }
    hub_.Stop();
    if (store_ != nullptr) store_->StopListening();
    if (reaper_ != nullptr) reaper_->Stop();
    if (sender_ != nullptr) sender_->Stop();
    planner_.Stop();
    executor_.Stop();
  }

 private:
  absl::Status Listen() {
    quantization_ = std::make_unique<QuantizationService>(*api_);
    worker_ = std::make_unique<WorkerService>(*api_);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    if (options_.tls.certificate.empty()) {
      builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &grpc_port_);
    } else {
      QD_RETURN_IF_ERROR(OpenLocalSocket(builder));
      builder.AddListeningPort(options_.listen, tls_, &grpc_port_);
    }
    builder.RegisterService(quantization_.get());
    builder.RegisterService(worker_.get());
    builder.SetMaxReceiveMessageSize(static_cast<int>(options_.limits.message_bytes));
    // Two servers on one port would each get half of the calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnection);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                               kShortestPingMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    grpc_ = builder.BuildAndStart();
    // Whatever the umask is, the socket is its owner's.
    if (socket_port_ != 0) ::chmod(local_socket_.substr(local_socket_.find(':') + 1).c_str(), 0600);
    const bool socket_failed = !local_socket_.empty() && socket_port_ == 0;
    if (grpc_ == nullptr || grpc_port_ == 0 || socket_failed) {
      return MakeError(
          Reason::kUnavailable, "cannot listen",
          Violation{.where = "listen", .got = options_.listen, .wanted = "a free address"});
    }
    // gRPC itself knows only "", the whole server.
    for (const char* name :
         {v1::QuantizationService::service_full_name(), v1::WorkerService::service_full_name()}) {
      grpc_->GetHealthCheckService()->SetServingStatus(name, true);
    }
    return absl::OkStatus();
  }

  void StartSender() {
    if (options_.webhook_hosts.off()) return;
    sender_ = std::make_unique<WebhookSender>(*store_, *options_.clock, api_->limits, *metrics_,
                                              SenderOptions{.hosts = options_.webhook_hosts,
                                                            .secret = options_.webhook_secret,
                                                            .seed = std::random_device()()},
                                              WebhookBody);
    sender_->Start(options_.reaper_period);
  }

  // For local workers, whose server's certificate is seldom one for 127.0.0.1.
  absl::Status OpenLocalSocket(grpc::ServerBuilder& builder) {
    QD_ASSIGN_OR_RETURN(certificates_, Certificates::Open(options_.tls));
    tls_ = ServerCredentialsFor(*certificates_);
    std::string path = folder_->socket_path();
    if (path.size() > kLongestSocketPath) {
      QD_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::Create("quantd"));
      path = folder.path() + "/socket";
      socket_folder_ = std::make_unique<TemporaryFolder>(std::move(folder));
    }
    local_socket_ = "unix:" + path;
    builder.AddListeningPort(local_socket_, grpc::InsecureServerCredentials(), &socket_port_);
    return absl::OkStatus();
  }

  static std::string Address(const std::string& asked, int port) {
    return absl::StrCat(asked.substr(0, asked.rfind(':')), ":", port);
  }

  const ServerOptions options_;
  std::unique_ptr<DataFolder> folder_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<AccessControl> access_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Metrics> metrics_;
  Executor executor_;
  Executor planner_;
  EventHub hub_;
  std::unique_ptr<ApiContext> api_;
  std::unique_ptr<Reaper> reaper_;
  std::unique_ptr<WebhookSender> sender_;
  std::unique_ptr<QuantizationService> quantization_;
  std::unique_ptr<WorkerService> worker_;
  std::unique_ptr<Certificates> certificates_;
  std::shared_ptr<grpc::ServerCredentials> tls_;
  std::unique_ptr<TemporaryFolder> socket_folder_;
  std::string local_socket_;
  std::unique_ptr<grpc::Server> grpc_;
  int grpc_port_ = 0;
  int socket_port_ = 0;
  int metrics_port_ = 0;
  std::atomic<bool> down_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  auto server = std::make_unique<RunningServer>(options);
  QD_RETURN_IF_ERROR(server->Open());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace quantd
