#include "server/api/watch_job.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/api/job_messages.h"
#include "server/api/request_checks.h"
#include "server/api/stream.h"

namespace quantd {
namespace {

constexpr int kPageEvents = 64;
constexpr int64_t kPageBytes = 256 << 10;

class WatchStream final : public Stream<v1::JobEvent> {
 public:
  WatchStream(ApiContext& api, Credentials credentials, const v1::WatchJobRequest& request)
      : Stream(api, RpcNamed(kUserService, "WatchJob"), std::move(credentials)),
        request_(request),
        sequence_(request.after_sequence()) {}

 private:
  const v1::JobEvent* NextReady() override {
    if (next_ == page_.size()) return nullptr;
    message_ = ToProto(page_[next_++]);
    sequence_ = message_.sequence();
    return &message_;
  }

  void Step(const Caller& caller) override {
    const auto id = Check();
    if (!id.ok()) return End(id.status());
    const std::string topic = TopicOf(*id);
    const uint64_t seen = api_.hub.Seen(topic);
    bool over = false;
    const absl::Status read = api_.store.Read([&](StoreReader& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), *id));
      QD_RETURN_IF_ERROR(CheckSequence(job));
      QD_ASSIGN_OR_RETURN(page_, store.ListEvents(job, sequence_, kPageEvents, kPageBytes));
      over = IsFinal(job.state) && sequence_ >= job.last_sequence;
      return absl::OkStatus();
    });
    next_ = 0;
    if (!read.ok()) return End(read);
    if (over) return End(absl::OkStatus());
    if (const v1::JobEvent* message = NextReady()) return Write(message);
    WaitFor(topic, seen);
  }

  absl::StatusOr<std::string> Check() const {
    QD_RETURN_IF_ERROR(CheckNoUnknownFields(request_, ""));
    if (request_.after_sequence() < 0) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "after_sequence",
                                 .got = absl::StrCat(request_.after_sequence()),
                                 .wanted = "0 or the sequence of an event"});
    }
    return JobIdFromName(request_.name());
  }

  // A sequence that was never sent is a mistake, not a wish to wait.
  absl::Status CheckSequence(const Job& job) const {
    if (sequence_ <= job.last_sequence) return absl::OkStatus();
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "after_sequence",
                               .got = absl::StrCat(sequence_),
                               .wanted = absl::StrCat("at most ", job.last_sequence)});
  }

  const v1::WatchJobRequest request_;
  int64_t sequence_;
  std::vector<Event> page_;
  size_t next_ = 0;
  v1::JobEvent message_;
};

}  // namespace

grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(ApiContext& api, Credentials credentials,
                                                 const v1::WatchJobRequest& request) {
  auto* stream = new WatchStream(api, std::move(credentials), request);
  stream->Start();
  return stream;
}

}  // namespace quantd
