// Completion by a real bash, with the real program.
#include "client/cli/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <set>
#include <sstream>
#include <string>

#include "client/cli/command_line.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

// Runs a script in bash; its standard output.
std::string Bash(const std::string& script) {
  const std::string command =
      "PATH=" + BuiltPath("bin") + ":$PATH bash --norc -c '" + script + "' 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "cannot run bash";
  std::string text;
  std::array<char, 4096> buffer{};
  while (fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr) {
    text += buffer.data();
  }
  pclose(pipe);
  return text;
}

// What bash offers for the last of `words` ("" for a word that is yet to begin).
std::set<std::string> Completions(const std::vector<std::string>& words) {
  std::string script = "source <(quantctl completion bash); COMP_WORDS=(quantctl";
  for (const std::string& word : words) script += " \"" + word + "\"";
  script += "); COMP_CWORD=" + std::to_string(words.size()) +
            "; _quantctl; printf \"%s\\n\" \"${COMPREPLY[@]}\"";
  std::istringstream lines(Bash(script));
  std::set<std::string> offered;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) offered.insert(line);
  }
  return offered;
}

TEST(BashCompletion, OffersCommandsOfEachLevel) {
  EXPECT_THAT(Completions({"q"}), ElementsAre("quantize"));
  EXPECT_THAT(Completions({"jobs", ""}), UnorderedElementsAre("list", "get", "watch", "cancel",
                                                              "delete", "report", "deliveries"));
  EXPECT_THAT(Completions({"artifacts", "l"}), ElementsAre("list"));
}

TEST(BashCompletion, OffersTheFlagsOfTheCommandAndOfAll) {
  EXPECT_THAT(Completions({"quantize", "--gate-k"}), ElementsAre("--gate-kl"));
  EXPECT_THAT(Completions({"jobs", "list", "--"}),
              testing::AllOf(Contains("--filter"), Contains("--json"), Not(Contains("--method"))));
}

TEST(BashCompletion, AValueOfAFlagIsNoCommand) {
  EXPECT_THAT(Completions({"--server", "jobs", "jobs", "w"}), ElementsAre("watch"));
  EXPECT_THAT(Completions({"quantize", "--out", ""}), IsEmpty());  // left to file names
}

TEST(BashCompletion, OffersShells) {
  EXPECT_THAT(Completions({"completion", ""}), UnorderedElementsAre("bash", "zsh", "fish"));
}

TEST(CompletionScript, NamesEveryCommandForEachShell) {
  const CommandLine command_line;
  const std::vector<CommandEntry> catalogue = CatalogueOf(command_line.app());
  for (const std::string& shell : Shells()) {
    const auto script = CompletionScript(catalogue, shell);
    ASSERT_TRUE(script.ok()) << script.status();
    for (const CommandRow& row : Commands()) {
      const std::string_view last = row.path.substr(row.path.rfind(' ') + 1);
      EXPECT_NE(script->find(last), std::string::npos) << shell << " " << row.path;
    }
  }
  EXPECT_FALSE(CompletionScript(catalogue, "tcsh").ok());
}

}  // namespace
}  // namespace quantd
