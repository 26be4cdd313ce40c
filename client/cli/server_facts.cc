// quantctl methods, formats, families, workers, workers drain, version: what the server can do and
// who works for it.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "client/cli/command.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "proto/convert.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

std::string DefaultText(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    case google::protobuf::Value::kNumberValue:
      return absl::StrCat(value.number_value());
    default:
      return value.string_value();
  }
}

template <typename Messages>
absl::Status PrintList(Session& session, const Messages& messages) {
  QD_ASSIGN_OR_RETURN(const Json list, MessagesJson(messages));
  session.PrintJson(list);
  return absl::OkStatus();
}

class Methods : public Command {
 public:
  explicit Methods(CLI::App& app) {
    app.add_option("NAME", name_, "Describe this method and its options");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const v1::Capabilities capabilities,
                        session.connection().GetCapabilities());
    if (!name_.empty()) return Describe(session, capabilities);
    if (session.json()) {
      QD_RETURN_IF_ERROR(PrintList(session, capabilities.methods()));
      return ExitCode::kDone;
    }
    Table table({{.title = "method"}, {.title = "bits"}, {.title = "calibration"}, {.title = ""}});
    for (const v1::MethodInfo& method : capabilities.methods()) {
      table.Add({method.name(), absl::StrJoin(method.bits(), " "),
                 method.needs_calibration() ? "for some options" : "no", method.summary()});
    }
    session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }

 private:
  absl::StatusOr<ExitCode> Describe(Session& session, const v1::Capabilities& capabilities) const {
    const auto found =
        std::find_if(capabilities.methods().begin(), capabilities.methods().end(),
                     [&](const v1::MethodInfo& method) { return method.name() == name_; });
    if (found == capabilities.methods().end()) {
      std::vector<std::string> names;
      for (const v1::MethodInfo& method : capabilities.methods()) names.push_back(method.name());
      return MakeError(
          Reason::kInvalidField, "no such method",
          Violation{.where = "NAME", .got = name_, .wanted = absl::StrJoin(names, ", ")});
    }
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json json, MessageJson(*found));
      session.PrintJson(json);
      return ExitCode::kDone;
    }
    session.out() << absl::StrCat(found->name(), ": ", found->summary(), "\n",
                                  "source:  ", found->source(), "\n",
                                  "bits:    ", absl::StrJoin(found->bits(), " "), "\n",
                                  "groups:  ", found->group_sizes(), "\n\n");
    Table table({{.title = "option"},
                 {.title = "type"},
                 {.title = "default"},
                 {.title = "values"},
                 {.title = ""}});
    for (const v1::OptionInfo& option : found->options()) {
      table.Add({option.name(), absl::AsciiStrToLower(v1::OptionInfo::Type_Name(option.type())),
                 DefaultText(option.default_value()), option.values(), option.description()});
    }
    if (!table.empty()) session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }

  std::string name_;
};

class Formats : public Command {
 public:
  explicit Formats(CLI::App&) {}
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const v1::Capabilities capabilities,
                        session.connection().GetCapabilities());
    if (session.json()) {
      QD_RETURN_IF_ERROR(PrintList(session, capabilities.formats()));
      return ExitCode::kDone;
    }
    for (const v1::FormatInfo& format : capabilities.formats()) {
      session.out() << format.name() << ": " << format.summary() << "\n\n";
      Table table({{.title = "loader"}, {.title = "versions"}, {.title = "shape rules"}});
      for (const v1::LoaderInfo& loader : format.loaders()) {
        table.Add({loader.name(), loader.versions(), loader.shape_rules()});
      }
      session.out() << table.Text(session.columns());
    }
    return ExitCode::kDone;
  }
};

class Families : public Command {
 public:
  explicit Families(CLI::App&) {}
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const v1::Capabilities capabilities,
                        session.connection().GetCapabilities());
    if (session.json()) {
      QD_RETURN_IF_ERROR(PrintList(session, capabilities.families()));
      return ExitCode::kDone;
    }
    Table table({{.title = "family"}, {.title = ""}});
    for (const v1::FamilyInfo& family : capabilities.families()) {
      table.Add({family.name(), family.summary()});
    }
    session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }
};

class Workers : public Command {
 public:
  explicit Workers(CLI::App&) {}
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const std::vector<v1::Worker> workers, session.connection().ListWorkers());
    if (session.json()) {
      QD_RETURN_IF_ERROR(PrintList(session, workers));
      return ExitCode::kDone;
    }
    if (workers.empty()) {
      session.err() << "No workers. Start one with `quantd-worker --server "
                    << session.connection().server() << "`.\n";
      return ExitCode::kDone;
    }
    Table table({{.title = "worker"},
                 {.title = "state"},
                 {.title = "job"},
                 {.title = "backends"},
                 {.title = "threads", .align = Align::kRight},
                 {.title = "memory free", .align = Align::kRight},
                 {.title = "last seen"}});
    for (const v1::Worker& worker : workers) {
      std::vector<std::string> backends;
      for (const int backend : worker.backends()) {
        backends.emplace_back(NameOf(static_cast<v1::BackendKind>(backend)));
      }
      table.Add(
          {worker.name(), absl::AsciiStrToLower(v1::Worker::State_Name(worker.state())),
           worker.job().empty() ? "-" : worker.job(), absl::StrJoin(backends, " "),
           absl::StrCat(worker.threads()),
           HumanBytes(worker.free_memory_bytes()) + " of " + HumanBytes(worker.memory_bytes()),
           TimeText(worker.last_seen_time(), worker.has_last_seen_time())});
    }
    session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }
};

class WorkersDrain : public Command {
 public:
  explicit WorkersDrain(CLI::App& app) {
    app.add_option("WORKER", names_, "workers/NAME, or NAME")->required();
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    std::vector<v1::Worker> workers;
    for (const std::string& name : names_) {
      const bool whole = name.starts_with("workers/");
      QD_ASSIGN_OR_RETURN(v1::Worker worker,
                          session.connection().DrainWorker(whole ? name : "workers/" + name));
      workers.push_back(std::move(worker));
    }
    if (session.json()) {
      QD_RETURN_IF_ERROR(PrintList(session, workers));
      return ExitCode::kDone;
    }
    for (const v1::Worker& worker : workers) {
      session.out() << worker.name()
                    << (worker.job().empty() ? " leaves\n"
                                             : " leaves when " + worker.job() + " has ended\n");
    }
    return ExitCode::kDone;
  }

 private:
  std::vector<std::string> names_;
};

std::string NoVersion(const absl::Status& status) {
  return ReasonOf(status) == Reason::kUnauthenticated ? "asks for a token" : "not reached";
}

class Version : public Command {
 public:
  explicit Version(CLI::App&) {}
  absl::StatusOr<ExitCode> Run(Session& session) override {
    // This program's version is known without a server; that it is away is no error here.
    const auto capabilities = session.connection().GetCapabilities();
    if (ExitCodeOf(capabilities.status()) == ExitCode::kInterrupted) return capabilities.status();
    const std::string& server = session.connection().server();
    if (session.json()) {
      Json json = {{"client", QUANTD_VERSION}, {"server", nullptr}, {"address", server}};
      if (capabilities.ok()) json["server"] = capabilities->server_version();
      session.PrintJson(json);
      return ExitCode::kDone;
    }
    session.out() << absl::StrCat(
        "quantctl ", QUANTD_VERSION, "\nquantd   ",
        capabilities.ok() ? capabilities->server_version() : NoVersion(capabilities.status()),
        " at ", server, "\n");
    return ExitCode::kDone;
  }
};

}  // namespace

std::unique_ptr<Command> MakeMethods(CLI::App& app) { return std::make_unique<Methods>(app); }
std::unique_ptr<Command> MakeFormats(CLI::App& app) { return std::make_unique<Formats>(app); }
std::unique_ptr<Command> MakeFamilies(CLI::App& app) { return std::make_unique<Families>(app); }
std::unique_ptr<Command> MakeWorkers(CLI::App& app) { return std::make_unique<Workers>(app); }
std::unique_ptr<Command> MakeWorkersDrain(CLI::App& app) {
  return std::make_unique<WorkersDrain>(app);
}
std::unique_ptr<Command> MakeVersion(CLI::App& app) { return std::make_unique<Version>(app); }

}  // namespace quantd
