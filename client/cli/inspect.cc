// quantctl inspect: what is in a model folder or a GGUF file. Needs no server.
#include "base/error.h"
#include "client/cli/command.h"
#include "client/cli/inspect_text.h"
#include "engine/inspect/inspection.h"

namespace quantd {
namespace {

class InspectCommand : public Command {
 public:
  explicit InspectCommand(CLI::App& app) {
    app.add_option("PATH", path_, "The folder of a model, or a GGUF file")->required();
    app.add_flag("--tensors", tensors_, "List every tensor");
    app.add_flag("--headers-only", headers_only_, "Do not read weights: no search for NaN");
    app.add_option(
           "--loader", options_.loader,
           "Engine whose refusal is a problem: transformers, transformers4, hqq, vllm, sglang, "
           "llama.cpp")
        ->type_name("NAME");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    if (headers_only_) options_.contents = ReadContents::kHeadersOnly;
    QD_ASSIGN_OR_RETURN(const Inspection inspection, Inspect(path_, options_));
    if (session.json()) {
      session.PrintJson(ToJson(inspection));
    } else {
      session.out() << InspectionText(inspection, session.columns());
      if (tensors_) session.out() << "\n" << TensorTable(inspection, session.columns());
    }
    return inspection.findings.problems.empty() ? ExitCode::kDone : ExitCode::kProblemsFound;
  }

 private:
  std::string path_;
  bool tensors_ = false, headers_only_ = false;
  InspectOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeInspect(CLI::App& app) {
  return std::make_unique<InspectCommand>(app);
}

}  // namespace quantd
