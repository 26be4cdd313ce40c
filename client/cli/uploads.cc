// quantctl models and datasets: push, list, delete.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "client/cli/push.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

// What the commands of the two collections differ in.
struct Collection {
  const char* name;   // "models"
  const char* noun;   // "model"
  const char* local;  // what is pushed
};
constexpr Collection kModels = {"models", "model", "A model folder, or a .gguf file"};
constexpr Collection kDatasets = {"datasets", "dataset", "A text, JSONL, JSON or CSV file"};

std::string WholeName(const Collection& collection, const std::string& name) {
  const std::string prefix = absl::StrCat(collection.name, "/");
  return name.starts_with(prefix) ? name : prefix + name;
}

template <const Collection& kOf>
class Push : public Command {
 public:
  explicit Push(CLI::App& app) {
    app.add_option("PATH", path_, kOf.local)->required();
    app.add_option("--name", name_,
                   "What it is called on the server: lower-case letters, digits and '-'; default: "
                   "made of the path's last part")
        ->type_name("ID");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    const std::string name = name_.empty() ? "" : WholeName(kOf, name_);
    QD_ASSIGN_OR_RETURN(const PushedUpload pushed, Send(session, name));
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json json, MessageJson(pushed.upload));
      session.PrintJson(json);
      return ExitCode::kDone;
    }
    session.out() << pushed.upload.name() << "\n";
    session.err() << HumanBytes(pushed.upload.bytes()) << ", of which "
                  << HumanBytes(pushed.bytes_sent)
                  << " were sent. Use it: " << session.CommandLine(Use(pushed.upload.name()))
                  << "\n";
    return ExitCode::kDone;
  }

 private:
  absl::StatusOr<PushedUpload> Send(Session& session, const std::string& name) const {
    if constexpr (&kOf == &kModels) return PushModel(session, path_, name);
    return PushDataset(session, path_, name);
  }
  static std::string Use(const std::string& name) {
    if constexpr (&kOf == &kModels) return "quantize " + name;
    return "quantize MODEL --calibration " + name;
  }

  std::string path_, name_;
};

template <const Collection& kOf>
class List : public Command {
 public:
  explicit List(CLI::App&) {}

  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const std::vector<v1::Upload> uploads,
                        session.connection().ListUploads(kOf.name));
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json list, MessagesJson(uploads));
      session.PrintJson(list);
      return ExitCode::kDone;
    }
    if (uploads.empty()) {
      session.err() << "No " << kOf.name << ". Send one with `"
                    << session.CommandLine(absl::StrCat(kOf.name, " push PATH")) << "`.\n";
      return ExitCode::kDone;
    }
    Table table({{.title = kOf.noun},
                 {.title = "state"},
                 {.title = "size", .align = Align::kRight},
                 {.title = "created"}});
    for (const v1::Upload& upload : uploads) {
      table.Add({upload.name(), absl::AsciiStrToLower(v1::Upload::State_Name(upload.state())),
                 HumanBytes(upload.bytes()),
                 TimeText(upload.create_time(), upload.has_create_time())});
    }
    session.out() << table.Text(session.columns());
    return ExitCode::kDone;
  }
};

template <const Collection& kOf>
class Delete : public Command {
 public:
  explicit Delete(CLI::App& app) {
    app.add_option("NAME", names_, absl::StrCat(kOf.name, "/ID, or ID"))->required();
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    for (const std::string& given : names_) {
      const std::string name = WholeName(kOf, given);
      QD_RETURN_IF_ERROR(session.connection().DeleteUpload(name));
      if (!session.json()) session.out() << name << " deleted\n";
    }
    if (session.json()) session.PrintJson(Json::object());
    return ExitCode::kDone;
  }

 private:
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> MakeModelsPush(CLI::App& app) {
  return std::make_unique<Push<kModels>>(app);
}
std::unique_ptr<Command> MakeModelsList(CLI::App& app) {
  return std::make_unique<List<kModels>>(app);
}
std::unique_ptr<Command> MakeModelsDelete(CLI::App& app) {
  return std::make_unique<Delete<kModels>>(app);
}
std::unique_ptr<Command> MakeDatasetsPush(CLI::App& app) {
  return std::make_unique<Push<kDatasets>>(app);
}
std::unique_ptr<Command> MakeDatasetsList(CLI::App& app) {
  return std::make_unique<List<kDatasets>>(app);
}
std::unique_ptr<Command> MakeDatasetsDelete(CLI::App& app) {
  return std::make_unique<Delete<kDatasets>>(app);
}

}  // namespace quantd
