// quantctl convert: a quantized model in another layout. Needs no server.
#include "base/error.h"
#include "client/cli/command.h"
#include "engine/convert/conversion.h"
#include "terminal/figures.h"

namespace quantd {
namespace {

class ConvertCommand : public Command {
 public:
  explicit ConvertCommand(CLI::App& app) {
    app.add_option("PATH", options_.model_folder, "The folder of a quantized model")->required();
    app.add_option("--format", options_.format, "awq, gptq or compressed-tensors")
        ->type_name("NAME")
        ->required();
    app.add_option("--out", options_.output_folder, "Where to write it: a new or empty folder")
        ->type_name("DIR")
        ->required();
    app.add_option("--loader", options_.loader, "Engine that must be able to load the result")
        ->type_name("NAME");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const ConvertReport report, Convert(options_));
    if (session.json()) {
      session.PrintJson({{"folder", options_.output_folder},
                         {"format", options_.format},
                         {"linears", report.linears},
                         {"files", report.files},
                         {"bytes", report.bytes}});
      return ExitCode::kDone;
    }
    session.out() << options_.output_folder << ": " << report.linears << " linears as "
                  << options_.format << ", " << HumanBytes(report.bytes)
                  << " of weights; no weight was rounded\n";
    return ExitCode::kDone;
  }

 private:
  ConvertOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeConvert(CLI::App& app) {
  return std::make_unique<ConvertCommand>(app);
}

}  // namespace quantd
