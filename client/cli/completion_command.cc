// quantctl completion.
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "client/cli/catalogue.h"
#include "client/cli/command.h"
#include "client/cli/completion.h"

namespace quantd {
namespace {

class Completion : public Command {
 public:
  explicit Completion(CLI::App& app) : app_(app) {
    app.add_option("SHELL", shell_, absl::StrJoin(Shells(), ", "))->required();
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    const CLI::App* root = &app_;
    while (root->get_parent() != nullptr) root = root->get_parent();
    QD_ASSIGN_OR_RETURN(const std::string script, CompletionScript(CatalogueOf(*root), shell_));
    session.out() << script;
    return ExitCode::kDone;
  }

 private:
  const CLI::App& app_;
  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> MakeCompletion(CLI::App& app) { return std::make_unique<Completion>(app); }

}  // namespace quantd
