#include "server/metrics.h"

#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <map>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace quantd {
namespace {

// Every metric, once.
struct Row {
  const char* name;
  const char* help;
};
constexpr Row kJobs = {"quantd_jobs", "Jobs in the store, by state and method."};
constexpr Row kQueueDepth = {"quantd_queue_depth", "Tasks that wait for a worker."};
constexpr Row kTaskSeconds = {"quantd_task_duration_seconds",
                              "Time from lease to end of an attempt, by method and outcome."};
constexpr Row kBytesServed = {"quantd_artifact_bytes_served_total",
                              "Bytes of artifact files sent to clients."};
constexpr Row kRpcSeconds = {"quantd_rpc_duration_seconds",
                             "Time from the arrival of a call to its status, by method and code."};
constexpr Row kResultsReused = {"quantd_results_reused_total",
                                "Requests answered with the job of an earlier identical one."};
constexpr Row kWebhookTries = {"quantd_webhook_tries_total",
                               "Tries of webhook deliveries, by outcome."};
constexpr Row kBuildInfo = {"quantd_build_info", "Always 1; the labels tell the build."};

const prometheus::Histogram::BucketBoundaries kRpcBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600, 3600};
const prometheus::Histogram::BucketBoundaries kTaskBuckets = {
    1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400};

prometheus::MetricFamily GaugeFamily(const Row& row) {
  prometheus::MetricFamily family;
  family.name = row.name;
  family.help = row.help;
  family.type = prometheus::MetricType::Gauge;
  return family;
}

prometheus::ClientMetric GaugeValue(double value,
                                    std::vector<prometheus::ClientMetric::Label> labels) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  return metric;
}

// What only the store knows, read at each scrape.
class StoreGauges final : public prometheus::Collectable {
 public:
  explicit StoreGauges(Store& store) : store_(store) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<JobCount> counts;
    int64_t pending = 0;
    const absl::Status status = store_.Read([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(counts, store.CountJobs());
      QD_ASSIGN_OR_RETURN(pending, store.CountPendingTasks());
      return absl::OkStatus();
    });
    if (!status.ok()) {
      spdlog::error("metrics: {}", std::string(status.message()));
      return {};
    }
    prometheus::MetricFamily jobs = GaugeFamily(kJobs);
    for (const JobCount& count : counts) {
      jobs.metric.push_back(
          GaugeValue(static_cast<double>(count.jobs),
                     {{"state", std::string(NameOf(count.state))}, {"method", count.method}}));
    }
    prometheus::MetricFamily depth = GaugeFamily(kQueueDepth);
    depth.metric.push_back(GaugeValue(static_cast<double>(pending), {}));
    return {std::move(jobs), std::move(depth)};
  }

 private:
  Store& store_;
};

// Opens a connection to a port of this machine and closes it.
void KnockAt(int port) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // Whether anybody answers does not matter.
  (void)connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  close(descriptor);
}

}  // namespace

struct Metrics::State {
  explicit State(Store& store)
      : registry(std::make_shared<prometheus::Registry>()),
        gauges(std::make_shared<StoreGauges>(store)),
        task_seconds(prometheus::BuildHistogram()
                         .Name(kTaskSeconds.name)
                         .Help(kTaskSeconds.help)
                         .Register(*registry)),
        rpc_seconds(prometheus::BuildHistogram()
                        .Name(kRpcSeconds.name)
                        .Help(kRpcSeconds.help)
                        .Register(*registry)),
        bytes_served(prometheus::BuildCounter()
                         .Name(kBytesServed.name)
                         .Help(kBytesServed.help)
                         .Register(*registry)
                         .Add({})),
        results_reused(prometheus::BuildCounter()
                           .Name(kResultsReused.name)
                           .Help(kResultsReused.help)
                           .Register(*registry)
                           .Add({})),
        webhook_tries(prometheus::BuildCounter()
                          .Name(kWebhookTries.name)
                          .Help(kWebhookTries.help)
                          .Register(*registry)) {
    prometheus::BuildGauge()
        .Name(kBuildInfo.name)
        .Help(kBuildInfo.help)
        .Register(*registry)
        .Add({{"version", QUANTD_VERSION}})
        .Set(1);
  }

  std::shared_ptr<prometheus::Registry> registry;
  std::shared_ptr<StoreGauges> gauges;
  prometheus::Family<prometheus::Histogram>& task_seconds;
  prometheus::Family<prometheus::Histogram>& rpc_seconds;
  prometheus::Counter& bytes_served;
  prometheus::Counter& results_reused;
  prometheus::Family<prometheus::Counter>& webhook_tries;
  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics(Store& store) : state_(std::make_unique<State>(store)) {}
Metrics::~Metrics() {
  if (state_->exposer == nullptr) return;
  // The HTTP library's accepting thread sleeps up to two seconds at a time; connections wake it to
  // see that it shall end.
  std::atomic<bool> ended = false;
  const int port = state_->exposer->GetListeningPorts().at(0);
  std::thread ending([&] {
    state_->exposer.reset();
    ended = true;
  });
  while (!ended) {
    KnockAt(port);
    absl::SleepFor(absl::Milliseconds(5));
  }
  ending.join();
}

absl::StatusOr<int> Metrics::Serve(const std::string& address) {
  try {
    state_->exposer = std::make_unique<prometheus::Exposer>(address, 2);
    state_->exposer->RegisterCollectable(state_->registry);
    state_->exposer->RegisterCollectable(state_->gauges);
    return state_->exposer->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    return MakeError(
        Reason::kUnavailable, "cannot serve metrics",
        Violation{
            .where = "metrics", .got = address + ": " + error.what(), .wanted = "a free address"});
  }
}

void Metrics::RpcDone(std::string_view method, std::string_view code, absl::Duration duration) {
  state_->rpc_seconds
      .Add({{"method", std::string(method)}, {"code", std::string(code)}}, kRpcBuckets)
      .Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::TaskDone(std::string_view method, std::string_view outcome, absl::Duration duration) {
  state_->task_seconds
      .Add({{"method", std::string(method)}, {"outcome", std::string(outcome)}}, kTaskBuckets)
      .Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::BytesServed(int64_t bytes) {
  state_->bytes_served.Increment(static_cast<double>(bytes));
}

void Metrics::ResultReused() { state_->results_reused.Increment(); }

void Metrics::WebhookTried(std::string_view outcome) {
  state_->webhook_tries.Add({{"outcome", std::string(outcome)}}).Increment();
}

std::string Metrics::Page() const {
  std::vector<prometheus::MetricFamily> families = state_->registry->Collect();
  for (prometheus::MetricFamily& family : state_->gauges->Collect()) {
    families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace quantd
