// quantctl jobs deliveries.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "terminal/table.h"

namespace quantd {
namespace {

std::string Answer(const v1::WebhookDelivery& delivery) {
  if (!delivery.last_error().empty()) return Printable(delivery.last_error());
  return delivery.last_status() == 0 ? "" : absl::StrCat("HTTP ", delivery.last_status());
}

class JobsDeliveries : public Command {
 public:
  explicit JobsDeliveries(CLI::App& app) {
    app.add_option("JOB", job_, "jobs/ID, or ID")->required();
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const std::vector<v1::WebhookDelivery> deliveries,
                        session.connection().ListWebhookDeliveries(JobName(job_)));
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json list, MessagesJson(deliveries));
      session.PrintJson(list);
      return ExitCode::kDone;
    }
    if (deliveries.empty()) {
      session.err() << "No deliveries: the job has no webhooks, or is in no state that they want "
                       "to hear of.\n";
      return ExitCode::kDone;
    }
    Table table({{.title = "job"},
                 {.title = "delivery"},
                 {.title = "tries", .align = Align::kRight},
                 {.title = "last try"},
                 {.title = "answer"},
                 {.title = "url"}});
    for (const v1::WebhookDelivery& one : deliveries) {
      table.Add({StateText(one.job_state()),
                 absl::AsciiStrToLower(v1::WebhookDelivery::State_Name(one.state())),
                 absl::StrCat(one.attempts()),
                 TimeText(one.last_attempt_time(), one.has_last_attempt_time()), Answer(one),
                 Printable(one.url())});
    }
    session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }

 private:
  std::string job_;
};

}  // namespace

std::unique_ptr<Command> MakeJobsDeliveries(CLI::App& app) {
  return std::make_unique<JobsDeliveries>(app);
}

}  // namespace quantd
