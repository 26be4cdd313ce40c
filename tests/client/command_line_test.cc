// What quantctl prints and returns, against a real server with one scripted job.
#include "client/cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "base/files.h"
#include "client/cli/catalogue.h"
#include "client/cli/help.h"
#include "client/cli/out_folder.h"
#include "engine/types/report.h"
#include "tests/client/scripted_server.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  ExitCode code;
  std::string out, err;
};

class QuantctlTest : public testing::Test {
 protected:
  QuantctlTest() : server_(7) {
    server_.job.set_name("jobs/a1");
    server_.job.set_model("/models/books");
    server_.job.set_method("rtn");
  }
  void SetUp() override {
    auto folder = TemporaryFolder::Create("quantctl-test");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_.emplace(*std::move(folder));
  }

  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    std::ostringstream out, err;
    CommandLine command_line;
    const ExitCode code =
        command_line.Run(arguments, {.out = out, .err = err, .err_descriptor = -1}, cancellation_);
    return {.code = code, .out = out.str(), .err = err.str()};
  }
  std::string Folder(const std::string& name) const { return folder_->path() + "/" + name; }

  // A job that made two files and a report.
  void ScriptSuccess() {
    Report report;
    report.family = "llama";
    report.bits_per_weight = 4.125;
    report.bytes_original = 6'000'000;
    report.bytes_quantized = 2'000'000;
    report.evaluation = EvaluationResult{.tokens = 100,
                                         .perplexity_original = 20.5,
                                         .perplexity_quantized = 21.25,
                                         .kl_mean = 0.0325,
                                         .kl_p99 = 0.4,
                                         .top1_agreement = 0.875};
    server_.AddFile("model.safetensors", std::string(5000, 'w'));
    server_.AddFile("quantd/report.json", DumpJsonPretty(ToJson(report)));
    server_.AddState(v1::Job::PENDING);
    server_.AddState(v1::Job::RUNNING);
    for (const auto& file : server_.files) *server_.AddEvent().mutable_file_sealed() = file.listed;
    server_.AddEvent().mutable_warning()->set_text("mind the \x1b[31mgap");
    server_.AddState(v1::Job::SUCCEEDED);
  }

  ScriptedServer server_;
  Cancellation cancellation_;
  std::optional<TemporaryFolder> folder_;
};

TEST_F(QuantctlTest, QuantizeDownloadsAndEndsInOneTable) {
  ScriptSuccess();
  const std::string out = Folder("result");
  const Outcome run = Run({"quantize", "/models/books", "--out", out});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("4.125"), HasSubstr("20.5 -> 21.25"), HasSubstr("0.03250"),
                             HasSubstr("87.50 %"), HasSubstr("Artifact: " + out + " (2 files")));
  EXPECT_THAT(run.err, AllOf(HasSubstr("jobs/a1 submitted"), HasSubstr("warning: mind the ?[31m"),
                             Not(HasSubstr("\x1b"))));
  for (const auto& file : server_.files) {
    EXPECT_EQ(*ReadFile(out + "/" + file.listed.path(), 1 << 20), file.bytes);
  }
}

TEST_F(QuantctlTest, QuantizeAsJsonPrintsTheReportAndNothingElse) {
  ScriptSuccess();
  const Outcome run = Run({"quantize", "/models/books", "--out", Folder("result"), "--json"});
  ASSERT_EQ(run.code, ExitCode::kDone) << run.err;
  const auto json = ParseJson(run.out, "stdout");
  ASSERT_TRUE(json.ok()) << run.out;
  EXPECT_EQ((*json)["job"], "jobs/a1");
  EXPECT_EQ((*json)["folder"], Folder("result"));
  EXPECT_EQ((*json)["evaluation"]["kl_mean"], 0.0325);
}

TEST_F(QuantctlTest, AFolderWithOtherFilesIsRefusedBeforeAJobIsMade) {
  ScriptSuccess();
  const std::string out = Folder("result");
  ASSERT_TRUE(MakeFolders(out).ok());
  ASSERT_TRUE(WriteFileAtomic(out + "/notes.txt", "mine").ok());
  const Outcome run = Run({"quantize", "/models/books", "--out", out});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_THAT(run.err, AllOf(HasSubstr("notes.txt"), HasSubstr("--force")));
  EXPECT_EQ(server_.creates(), 0);
  EXPECT_EQ(Run({"quantize", "/models/books", "--out", out, "--force"}).code, ExitCode::kDone);
}

TEST_F(QuantctlTest, WatchWithOutKeepsTheFilesOfTheSameJob) {
  ScriptSuccess();
  const std::string out = Folder("result");
  ASSERT_EQ(Run({"quantize", "/models/books", "--out", out}).code, ExitCode::kDone);
  const int reads = server_.reads();
  const Outcome again = Run({"jobs", "watch", "a1", "--out", out});
  EXPECT_EQ(again.code, ExitCode::kDone) << again.err;
  EXPECT_THAT(again.err, HasSubstr("model.safetensors  5.00 kB  already there"));
  EXPECT_EQ(server_.reads(), reads + 1);  // the report for the table
}

TEST_F(QuantctlTest, ARefusalNamesEachViolationOnItsLine) {
  server_.create_error = MakeError(
      Reason::kRecipeInvalid, "the recipe does not fit the model",
      {{.where = "model.layers.0.q_proj", .got = "group 100", .wanted = "a divisor of 96"},
       {.where = "model.layers.0.k_proj", .got = "group 100", .wanted = "a divisor of 48"}});
  const Outcome run = Run({"quantize", "/models/books", "--bits", "4", "--out", Folder("result")});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_EQ(run.err,
            "quantctl: the recipe does not fit the model\n"
            "  model.layers.0.q_proj: got group 100, wanted a divisor of 96\n"
            "  model.layers.0.k_proj: got group 100, wanted a divisor of 48\n");
  EXPECT_EQ(run.out, "");
  EXPECT_FALSE(PathExists(Folder("result")));
}

TEST_F(QuantctlTest, AModelOutsideTheRootsSaysWhatToDo) {
  server_.create_error =
      MakeError(Reason::kModelOutsideRoots, "refused",
                Violation{.where = "job.spec.model.path", .got = "/x", .wanted = "below a root"});
  const Outcome run = Run({"validate", "/x"});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_THAT(run.err, AllOf(HasSubstr("job.spec.model.path"), HasSubstr("--model-root")));
}

TEST_F(QuantctlTest, AFailedJobAndAMissedGateHaveTheirOwnCodes) {
  server_.AddState(v1::Job::RUNNING);
  server_.job.mutable_error()->set_reason("MODEL_NOT_FINITE");
  server_.job.mutable_error()->set_message("NaN in weights");
  server_.AddState(v1::Job::FAILED);
  const Outcome failed = Run({"jobs", "watch", "jobs/a1"});
  EXPECT_EQ(failed.code, ExitCode::kJobFailed);
  EXPECT_THAT(failed.err, HasSubstr("jobs/a1 failed: MODEL_NOT_FINITE\nquantctl: NaN in weights"));

  v1::Job job = server_.job;
  job.mutable_error()->set_reason("QUALITY_GATE");
  EXPECT_EQ(ExitCodeOf(job), ExitCode::kGateMissed);
}

TEST_F(QuantctlTest, FilesOfAFailedJobAreTakenAway) {
  server_.AddFile("model.safetensors", std::string(5000, 'w'));
  server_.AddState(v1::Job::RUNNING);
  *server_.AddEvent().mutable_file_sealed() = server_.files[0].listed;
  server_.job.mutable_error()->set_reason("DISK_FULL");
  server_.AddState(v1::Job::FAILED);
  EXPECT_EQ(Run({"jobs", "watch", "a1", "--out", Folder("result")}).code, ExitCode::kJobFailed);
  EXPECT_FALSE(PathExists(Folder("result")));
}

TEST_F(QuantctlTest, AnInterruptLeavesTheJobAndSaysHowToReturn) {
  server_.AddState(v1::Job::RUNNING);
  server_.hold_watch = true;
  std::thread interrupter([&] {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (server_.watches() == 0 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(2));
    cancellation_.Cancel();
  });
  const Outcome run = Run({"quantize", "/models/books", "--out", Folder("result")});
  interrupter.join();
  EXPECT_EQ(run.code, ExitCode::kInterrupted);
  const std::string server = " --server " + server_.address();
  EXPECT_THAT(run.err, HasSubstr("The job goes on: jobs/a1\n  follow it:  quantctl jobs watch "
                                 "jobs/a1 --out " +
                                 Folder("result") + server +
                                 "\n  stop it:    quantctl jobs cancel jobs/a1" + server + "\n"));
  EXPECT_EQ(run.out, "");
}

TEST_F(QuantctlTest, AServerThatIsAwayIsToldInPlainWords) {
  server_.Stop();
  const Outcome run = Run({"jobs", "list"});
  EXPECT_EQ(run.code, ExitCode::kUnreachable);
  EXPECT_THAT(run.err, AllOf(HasSubstr("no answer from " + server_.address()),
                             HasSubstr("quantd --local-workers 1"), Not(HasSubstr("ipv4"))));
}

TEST_F(QuantctlTest, TheReportAsAPageGoesToAFileOrToStdout) {
  ScriptSuccess();
  server_.AddFile("quantd/report.html", "<!DOCTYPE html>page");
  const std::string file = Folder("page.html");
  const Outcome run = Run({"jobs", "report", "a1", "--html", file});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_THAT(run.out, HasSubstr("Page: " + file));
  EXPECT_EQ(*ReadFile(file, 1 << 20), "<!DOCTYPE html>page");
  EXPECT_EQ(Run({"jobs", "report", "a1", "--html", "-"}).out, "<!DOCTYPE html>page");
}

TEST_F(QuantctlTest, CompareReadsJobsAndFolders) {
  ScriptSuccess();
  Report report;
  report.bits_per_weight = 3;
  report.evaluation = EvaluationResult{.tokens = 100,
                                       .perplexity_original = 20.5,
                                       .perplexity_quantized = 30,
                                       .kl_mean = 0.5,
                                       .kl_p99 = 1,
                                       .top1_agreement = 0.5};
  const std::string three = Folder("three"), worse = Folder("worse");
  for (const std::string& folder : {three, worse}) {
    ASSERT_TRUE(MakeFolders(folder + "/quantd").ok());
    const std::string text = DumpJsonPretty(ToJson(report));
    ASSERT_TRUE(WriteFileAtomic(folder + "/quantd/report.json", text).ok());
    report.bits_per_weight = 5;  // more than the job's, with a higher KL
  }
  const Outcome table = Run({"compare", worse, "a1", three});
  EXPECT_EQ(table.code, ExitCode::kDone) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("jobs/a1"), HasSubstr("0.03250"), HasSubstr("0.50000")));

  const auto json = ParseJson(Run({"compare", worse, "a1", three, "--json"}).out, "stdout");
  ASSERT_TRUE(json.ok()) << json.status();
  std::vector<std::pair<std::string, bool>> marked;
  for (const Json& entry : *json) marked.emplace_back(entry["name"], entry["frontier"]);
  EXPECT_THAT(marked, ElementsAre(std::pair(three, true), std::pair("jobs/a1", true),
                                  std::pair(worse, false)));

  // What can be read is shown, and the exit code tells of the rest.
  const Outcome missing = Run({"compare", three, Folder("nothing")});
  EXPECT_NE(missing.code, ExitCode::kDone);
  EXPECT_THAT(missing.err, HasSubstr("nothing/quantd/report.json"));
  EXPECT_THAT(missing.out, HasSubstr(three));
  server_.Stop();
  EXPECT_EQ(Run({"compare", three, worse}).code, ExitCode::kDone);
  EXPECT_EQ(Run({"compare", three, "a1"}).code, ExitCode::kUnreachable);
}

TEST_F(QuantctlTest, JobsListPutsItsFlagsIntoTheFilter) {
  server_.job.set_state(v1::Job::RUNNING);
  const Outcome run = Run({"jobs", "list", "--state", "running", "--label", "team=a\"b"});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_EQ(server_.last_filter(), "state = RUNNING AND labels.team = \"a\\\"b\"");
  EXPECT_THAT(run.out, AllOf(HasSubstr("jobs/a1"), HasSubstr("running"), HasSubstr("books")));
  EXPECT_EQ(Run({"jobs", "list", "--names"}).out, "jobs/a1\n");
}

TEST_F(QuantctlTest, JobsListAsksForNoMoreThanItShows) {
  server_.job.mutable_plan()->set_bits_per_weight(4.125);
  const Outcome run = Run({"jobs", "list"});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_EQ(server_.last_list().view(), v1::JOB_VIEW_UNSPECIFIED);
  EXPECT_THAT(run.out, AllOf(HasSubstr("rtn"), HasSubstr("4.12"), HasSubstr("books")));
}

TEST_F(QuantctlTest, WorkersAreThoseOfAllPages) {
  for (const char* name : {"workers/a", "workers/b", "workers/c"}) {
    v1::Worker& worker = server_.workers.emplace_back();
    worker.set_name(name);
    worker.add_backends(v1::BACKEND_KIND_CPU);
  }
  const Outcome run = Run({"workers"});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("workers/a"), HasSubstr("workers/b"), HasSubstr("workers/c"),
                             HasSubstr("cpu")));
}

TEST_F(QuantctlTest, WorkersAreDrainedByEitherName) {
  const Outcome run = Run({"workers", "drain", "a", "workers/b"});
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_EQ(run.out,
            "workers/a leaves when jobs/j1 has ended\nworkers/b leaves when jobs/j1 has ended\n");
  EXPECT_EQ(Run({"workers", "drain"}).code, ExitCode::kRefused);
  EXPECT_EQ(Run({"workers", "drian", "a"}).code, ExitCode::kRefused);
}

// The spec that reaches the server, as text.
std::string Sent(const ScriptedServer& server) {
  return server.last_create().job().spec().ShortDebugString();
}

TEST_F(QuantctlTest, OnlyWhatWasSaidIsSent) {
  ASSERT_EQ(Run({"validate", "/models/books"}).code, ExitCode::kDone);
  EXPECT_EQ(Sent(server_), R"(model { path: "/models/books" })");

  // Also what is the default today.
  ASSERT_EQ(
      Run({"validate", "/models/books", "--samples", "128", "--seq-len", "512", "--propagate",
           "original", "--format", "compressed-tensors", "--backend", "any", "--priority", "0"})
          .code,
      ExitCode::kDone);
  EXPECT_EQ(Sent(server_),
            R"(model { path: "/models/books" } recipe { propagate: PROPAGATE_ORIGINAL } )"
            R"(calibration { samples: 128 sequence_length: 512 } )"
            R"(evaluation { sequence_length: 512 } output { format: "compressed-tensors" } )"
            R"(resources { backend: BACKEND_KIND_ANY })");

  ASSERT_EQ(Run({"validate", "/models/books", "--method", "gptq", "--option", "damping=0.05",
                 "--skip", "x*", "--no-evaluation", "--override", "a=skip", "--analyze"})
                .code,
            ExitCode::kDone);
  EXPECT_EQ(Sent(server_),
            R"(model { path: "/models/books" } recipe { default_scheme { method: "gptq" )"
            R"(options { key: "damping" value { number_value: 0.05 } } } )"
            R"(overrides { match: "a" skip: true } skip { globs: "lm_head" globs: "x*" } } )"
            R"(evaluation { disabled: true analyze: true })");

  ASSERT_EQ(Run({"validate", "/models/books", "--gate-kl", "0"}).code, ExitCode::kDone);
  EXPECT_EQ(Sent(server_),
            R"(model { path: "/models/books" } evaluation { gate { max_mean_kl: 0 } })");
}

TEST_F(QuantctlTest, ARecipeFileIsSentAsItStands) {
  const std::string file = Folder("recipe.yaml");
  ASSERT_TRUE(WriteFileAtomic(file, "default: {method: rtn, bits: 4}\nskip: []\n").ok());
  ASSERT_EQ(Run({"validate", "/models/books", "--recipe", file}).code, ExitCode::kDone);
  EXPECT_EQ(Sent(server_),
            R"(model { path: "/models/books" } recipe { default_scheme { method: "rtn" bits: 4 } )"
            R"(skip { } propagate: PROPAGATE_ORIGINAL })");
}

TEST_F(QuantctlTest, TheFolderIsNamedByTheServersDefaults) {
  ScriptSuccess();
  server_.job.set_method("hqq");
  auto* linear = server_.job.mutable_plan()->add_linears();
  linear->mutable_scheme()->set_bits(3);
  linear->set_out_features(2);
  linear->set_in_features(2);
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder_->path());
  const Outcome run = Run({"quantize", "/models/books"});
  std::filesystem::current_path(before);
  EXPECT_EQ(run.code, ExitCode::kDone) << run.err;
  EXPECT_TRUE(PathExists(Folder("books-hqq-3bit") + "/model.safetensors"));
}

TEST_F(QuantctlTest, JsonHasNumbersForLargeIntegers) {
  server_.job.mutable_plan()->set_artifact_bytes(int64_t{1} << 40);
  server_.job.mutable_create_time()->set_seconds(1'700'000'000);
  const Outcome run = Run({"jobs", "get", "a1", "--json"});
  const auto json = ParseJson(run.out, "stdout");
  ASSERT_TRUE(json.ok()) << run.out;
  EXPECT_EQ((*json)["plan"]["artifact_bytes"], int64_t{1} << 40);
  EXPECT_EQ((*json)["create_time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ((*json)["state"], "STATE_UNSPECIFIED");
}

TEST_F(QuantctlTest, BadUsageNamesTheCommandAndItsHelp) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"jobs", "get"}, {"jobs", "drain"}, {"quantize"}, {"methods", "--nonsense"}, {}}) {
    const Outcome run = Run(arguments);
    EXPECT_EQ(run.code, ExitCode::kRefused) << testing::PrintToString(arguments);
    EXPECT_THAT(run.err, HasSubstr("--help")) << testing::PrintToString(arguments);
    EXPECT_EQ(run.out, "");
  }
  EXPECT_THAT(Run({"jobs", "drain"}).err, HasSubstr("unknown command: drain"));
}

TEST_F(QuantctlTest, EveryCommandHasHelpWithTheExitCodes) {
  const CommandLine command_line;
  for (const CommandEntry& command : CatalogueOf(command_line.app())) {
    std::vector<std::string> arguments = command.path;
    arguments.push_back("--help");
    const Outcome run = Run(arguments);
    EXPECT_EQ(run.code, ExitCode::kDone);
    EXPECT_THAT(run.out, AllOf(HasSubstr(UsageOf(command)), HasSubstr("130"), HasSubstr("--json")));
    for (const FlagEntry& flag : command.flags) EXPECT_NE(flag.help, "") << flag.names.front();
  }
}

TEST(CliPage, IsInStepWithTheProgram) {
  const CommandLine command_line;
  const auto page = ReadFile(SourcePath("docs/cli.md"), 1 << 20);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_TRUE(*page == HelpPage(CatalogueOf(command_line.app())))
      << "write it anew: quantctl --help-all > docs/cli.md";
}

TEST(DefaultOutFolder, IsModelMethodBits) {
  EXPECT_EQ(DefaultOutFolder("/models/books-3m", "rtn", 4), "./books-3m-rtn-4bit");
  EXPECT_EQ(DefaultOutFolder("/models/books-3m/", "int8", 8), "./books-3m-int8-8bit");
  EXPECT_EQ(DefaultOutFolder("/", "rtn", 4), "./model-rtn-4bit");
}

TEST(ExitCode, FollowsTheError) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kDone);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), ExitCode::kInterrupted);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), ExitCode::kJobFailed);
  EXPECT_EQ(ExitCodeOf(MakeError(Reason::kModelCorrupt, "")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(MakeError(Reason::kQueueFull, "")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(MakeError(Reason::kDiskFull, "")), ExitCode::kJobFailed);
  EXPECT_EQ(ExitCodeOf(MakeError(Reason::kQualityGate, "")), ExitCode::kGateMissed);
  EXPECT_EQ(ExitCodeOf(MakeError(Reason::kJobNotFound, "")), ExitCode::kRefused);
}

TEST_F(QuantctlTest, InspectShowsAModelAndNeedsNoServer) {
  const std::string model = SourcePath("models/books-3m");
  const Outcome whole = Run({"inspect", model, "--tensors"});
  EXPECT_EQ(whole.code, ExitCode::kDone) << whole.err;
  EXPECT_THAT(whole.out, AllOf(HasSubstr("llama (LlamaForCausalLM)"), HasSubstr("3.28 M"),
                               HasSubstr("no problems found"),
                               HasSubstr("model.layers.3.mlp.up_proj.weight")));
  const Outcome json = Run({"inspect", model, "--json"});
  EXPECT_EQ(json.code, ExitCode::kDone);
  const auto parsed = ParseJson(json.out, "stdout");
  ASSERT_TRUE(parsed.ok()) << json.out;
  EXPECT_EQ((*parsed)["layout"], "dense");
  EXPECT_EQ((*parsed)["tensors"].size(), 38);
  EXPECT_EQ(Run({"inspect", Folder("nothing")}).code, ExitCode::kRefused);
}

TEST_F(QuantctlTest, InspectOfADamagedModelHasItsExitCode) {
  const std::string model = SourcePath("models/books-3m"), copy = Folder("copy");
  std::filesystem::copy(model, copy);
  std::filesystem::resize_file(copy + "/model.safetensors", 1'000'000);
  const Outcome cut = Run({"inspect", copy});
  EXPECT_EQ(cut.code, ExitCode::kProblemsFound);
  EXPECT_THAT(cut.out, AllOf(HasSubstr("cut short"), HasSubstr("problems found: 1")));
}

}  // namespace
}  // namespace quantd
