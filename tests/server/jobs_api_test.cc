// CreateJob, GetJob, ListJobs, CancelJob, DeleteJob, GetCapabilities and what they refuse.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>

#include "absl/strings/str_replace.h"
#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using Stub = v1::QuantizationService::Stub;

constexpr char kUuid[] = "123e4567-e89b-12d3-a456-426614174000";

class JobsApiTest : public RunningServerTest {
 protected:
  absl::StatusOr<v1::ListJobsResponse> List(const std::string& filter, int page_size = 100,
                                            const std::string& token = "",
                                            const std::string& order = "") {
    v1::ListJobsRequest request;
    request.set_filter(filter);
    request.set_page_size(page_size);
    request.set_page_token(token);
    request.set_order_by(order);
    return User(&Stub::ListJobs, request);
  }
};

TEST_F(JobsApiTest, AModelThatMakesPlanningThrowIsRefusedAndTheServerLivesOn) {
  options_.plan = [](const QuantizeRequest&, std::shared_ptr<const ModelFiles>)
      -> absl::StatusOr<std::unique_ptr<PlannedQuantization>> {
    throw std::length_error("vector::_M_default_append");
  };
  StartServer();
  const absl::Status refused = Create(NewJob()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInternal) << refused;
  EXPECT_EQ(ReasonOf(refused), Reason::kInternal);
  EXPECT_TRUE(User(&v1::QuantizationService::Stub::ListJobs, v1::ListJobsRequest()).ok());
}

// Bytes that this process has read so far, by read(2) and pread(2).
int64_t BytesRead() {
  std::ifstream file("/proc/self/io");
  std::string key;
  int64_t value = 0;
  file >> key >> value;
  return key == "rchar:" ? value : -1;
}

TEST_F(JobsApiTest, OfAHugeTextOnlyTheFirstBytesAreReadWhilePlanning) {
  const std::string roots = *RealPath(folder_->path());
  options_.model_roots.push_back(roots);
  StartServer();
  const std::string text = roots + "/text";
  std::ofstream(text) << "some words";
  ASSERT_EQ(truncate(text.c_str(), int64_t{1} << 30), 0);
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_evaluation()->set_disabled(false);
  request.mutable_job()->mutable_spec()->mutable_evaluation()->mutable_dataset()->set_path(text);
  const int64_t before = BytesRead();
  const auto made = Create(request);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_LT(BytesRead() - before, int64_t{64} << 20);
  ASSERT_EQ(truncate(text.c_str(), (int64_t{1} << 30) + 1), 0);
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kDatasetInvalid);
}

TEST_F(JobsApiTest, AJobIsMadeWithItsPlanAndIsFoundAgain) {
  v1::CreateJobRequest request = NewJob();
  (*request.mutable_job()->mutable_labels())["team"] = "x";
  const auto made = Create(request);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(made->name(), testing::MatchesRegex("jobs/[a-z2-7]{16}"));
  EXPECT_EQ(made->state(), v1::Job::PENDING);
  EXPECT_EQ(made->plan().family(), "llama");
  EXPECT_GT(made->plan().linears_size(), 0);
  EXPECT_GT(made->plan().shards_size(), 0);
  EXPECT_GT(made->plan().artifact_bytes(), 0);
  EXPECT_EQ(made->last_sequence(), 1);
  const auto found = Get(made->name());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->SerializeAsString().size(), made->SerializeAsString().size());
  EXPECT_EQ(found->labels().at("team"), "x");
}

TEST_F(JobsApiTest, ValidateOnlyAnswersWithThePlanAndMakesNothing) {
  v1::CreateJobRequest request = NewJob();
  request.set_validate_only(true);
  const auto checked = Create(request);
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_TRUE(checked->name().empty());
  EXPECT_GT(checked->plan().bits_per_weight(), 4.0);
  EXPECT_EQ(List("")->jobs_size(), 0);
}

TEST_F(JobsApiTest, TheSameRequestIdMakesOneJob) {
  v1::CreateJobRequest request = NewJob();
  request.set_request_id(kUuid);
  const auto first = Create(request);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Create(request);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->name(), second->name());
  StartServer();
  const auto third = Create(request);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(first->name(), third->name());
  (*request.mutable_job()->mutable_labels())["another"] = "body";
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kAlreadyExists);
  EXPECT_EQ(List("")->jobs_size(), 1);
}

TEST_F(JobsApiTest, OneRequestIdAtTheSameTimeFromManyThreadsMakesOneJob) {
  v1::CreateJobRequest request = NewJob();
  request.set_request_id(kUuid);
  std::vector<std::string> names(6);
  std::vector<std::thread> threads;
  for (std::string& name : names) {
    threads.emplace_back([&] {
      const auto made = Create(request);
      EXPECT_TRUE(made.ok()) << made.status();
      if (made.ok()) name = made->name();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1u);
  EXPECT_EQ(List("")->jobs_size(), 1);
}

struct Refusal {
  const char* what;
  std::function<void(v1::CreateJobRequest&)> spoil;
  Reason reason;
  const char* text;
};

v1::JobSpec* SpecOf(v1::CreateJobRequest& request) { return request.mutable_job()->mutable_spec(); }

v1::Scheme* SchemeOf(v1::CreateJobRequest& request) {
  return SpecOf(request)->mutable_recipe()->mutable_default_scheme();
}

google::protobuf::Value& OptionOf(v1::CreateJobRequest& request, const std::string& name) {
  return (*SchemeOf(request)->mutable_options())[name];
}

std::vector<Refusal> OptionRefusals() {
  return {
      {"an option of another method",
       [](auto& r) { OptionOf(r, "damping").set_number_value(0.05); }, Reason::kRecipeInvalid,
       "job.spec.recipe.default_scheme.options.damping: got no option of rtn, wanted no options"},
      {"an option out of its range",
       [](auto& r) {
         SchemeOf(r)->set_method("gptq");
         OptionOf(r, "damping").set_number_value(7);
       },
       Reason::kRecipeInvalid,
       "job.spec.recipe.default_scheme.options.damping: got 7, wanted 0.000001..1"},
      {"an option of another type",
       [](auto& r) {
         SchemeOf(r)->set_method("gptq");
         OptionOf(r, "refit").set_string_value("often");
       },
       Reason::kRecipeInvalid,
       "job.spec.recipe.default_scheme.options.refit: got often, wanted -1..100"},
      {"an option that is no choice",
       [](auto& r) {
         SchemeOf(r)->set_method("gptq");
         OptionOf(r, "act_order").set_string_value("alphabetical");
       },
       Reason::kRecipeInvalid, "got alphabetical, wanted none, static, group-aware, desc-act"},
      {"an option that is a field of schemes",
       [](auto& r) { OptionOf(r, "bits").set_number_value(4); }, Reason::kRecipeInvalid,
       "default_scheme.options.bits"},
      {"an option that is a list", [](auto& r) { OptionOf(r, "damping").mutable_list_value(); },
       Reason::kInvalidField, "options.damping: got a list"},
      {"an option of an override",
       [](auto& r) {
         auto* added = SpecOf(r)->mutable_recipe()->add_overrides();
         added->set_match("*");
         added->mutable_scheme()->set_method("awq");
         (*added->mutable_scheme()->mutable_options())["gird"].set_number_value(1);
       },
       Reason::kRecipeInvalid,
       "job.spec.recipe.overrides[0].scheme.options.gird: got no option of awq, wanted one of "
       "grid"},
      {"an option that the base of auto does not have",
       [](auto& r) {
         SchemeOf(r)->set_method("auto");
         SchemeOf(r)->clear_bits();
         OptionOf(r, "base").set_string_value("gptq");
         OptionOf(r, "grid").set_number_value(20);
       },
       Reason::kRecipeInvalid, "options.grid: got no option of auto"},
  };
}

std::vector<Refusal> Refusals() {
  return {
      {"no model", [](auto& r) { SpecOf(r)->clear_model(); }, Reason::kInvalidField,
       "job.spec.model"},
      {"relative", [](auto& r) { SpecOf(r)->mutable_model()->set_path("models"); },
       Reason::kInvalidField, "absolute"},
      {"outside", [](auto& r) { SpecOf(r)->mutable_model()->set_path("/etc"); },
       Reason::kModelOutsideRoots, "--model-root"},
      {"dots",
       [](auto& r) {
         SpecOf(r)->mutable_model()->set_path(absl::StrCat(ModelFolder(), "/../../docs"));
       },
       Reason::kModelOutsideRoots, "--model-root"},
      {"missing",
       [](auto& r) {
         SpecOf(r)->mutable_model()->set_path(absl::StrCat(ModelFolder(), "-missing"));
       },
       Reason::kModelNotFound, "job.spec.model.path"},
      {"upload", [](auto& r) { SpecOf(r)->mutable_model()->set_uploaded("models/a"); },
       Reason::kUploadNotFound, "job.spec.model.uploaded"},
      {"upload's name", [](auto& r) { SpecOf(r)->mutable_model()->set_uploaded("datasets/a"); },
       Reason::kInvalidField, "models/{id}"},
      {"method", [](auto& r) { SchemeOf(r)->set_method("awqq"); }, Reason::kRecipeInvalid,
       "wanted one of rtn"},
      {"bits", [](auto& r) { SchemeOf(r)->set_bits(99); }, Reason::kInvalidField,
       "default_scheme.bits: got 99"},
      {"group", [](auto& r) { SchemeOf(r)->set_group_size(60); }, Reason::kRecipeInvalid, "60"},
      {"enum", [](auto& r) { SchemeOf(r)->set_scale_rule(static_cast<v1::ScaleRule>(77)); },
       Reason::kInvalidField, "77"},
      {"format", [](auto& r) { SpecOf(r)->mutable_output()->set_format("floppy"); },
       Reason::kFormatCannotHold, "floppy"},
      {"glob",
       [](auto& r) {
         auto* added = SpecOf(r)->mutable_recipe()->add_overrides();
         added->set_match("no.such.*");
         added->set_skip(true);
       },
       Reason::kRecipeInvalid, "no.such.*"},
      {"gate without evaluation",
       [](auto& r) { SpecOf(r)->mutable_evaluation()->mutable_gate()->set_max_mean_kl(1); },
       Reason::kInvalidField, "gate"},
      {"priority", [](auto& r) { SpecOf(r)->mutable_resources()->set_priority(101); },
       Reason::kInvalidField, "priority"},
      {"run time",
       [](auto& r) { SpecOf(r)->mutable_resources()->mutable_max_run_time()->set_seconds(86401); },
       Reason::kInvalidField, "max_run_time"},
      {"samples", [](auto& r) { SpecOf(r)->mutable_calibration()->set_samples(1 << 30); },
       Reason::kInvalidField, "samples"},
      {"label", [](auto& r) { (*r.mutable_job()->mutable_labels())["Bad Key"] = "v"; },
       Reason::kInvalidField, "job.labels"},
      {"request id", [](auto& r) { r.set_request_id("7"); }, Reason::kInvalidField, "UUID"},
      {"unknown field",
       [](auto& r) {
         SpecOf(r)->GetReflection()->MutableUnknownFields(SpecOf(r))->AddVarint(999, 1);
       },
       Reason::kUnknownField, "999"},
      {"dataset",
       [](auto& r) { SpecOf(r)->mutable_evaluation()->mutable_dataset()->set_path("/etc/passwd"); },
       Reason::kModelOutsideRoots, "evaluation.dataset"},
  };
}

TEST_F(JobsApiTest, WhatCanBeRefusedIsRefusedWithItsFieldAndNothingIsLeft) {
  std::vector<Refusal> refusals = Refusals();
  for (Refusal& refusal : OptionRefusals()) refusals.push_back(std::move(refusal));
  for (const Refusal& refusal : refusals) {
    v1::CreateJobRequest request = NewJob();
    refusal.spoil(request);
    for (const bool validate_only : {false, true}) {
      request.set_validate_only(validate_only);
      const absl::Status status = Create(request).status();
      EXPECT_EQ(ReasonOf(status), refusal.reason) << refusal.what << ": " << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(refusal.text)) << refusal.what;
      EXPECT_FALSE(ViolationsOf(status).empty()) << refusal.what;
    }
  }
  EXPECT_EQ(List("")->jobs_size(), 0);
}

TEST_F(JobsApiTest, OptionsAreResolvedByTheSchemaOfTheMethod) {
  v1::CreateJobRequest request = NewJob();
  SchemeOf(request)->set_method("auto");
  SchemeOf(request)->clear_bits();
  OptionOf(request, "base").set_string_value("gptq");
  OptionOf(request, "damping").set_number_value(1);  // auto hands it on; a whole number for a float
  request.set_validate_only(true);
  const auto checked = Create(request);
  ASSERT_TRUE(checked.ok()) << checked.status();
  const v1::Scheme& scheme = checked->plan().linears(0).scheme();
  EXPECT_EQ(scheme.options().at("damping").number_value(), 1);
  EXPECT_EQ(scheme.options().at("act_order").string_value(), "group-aware");
}

TEST_F(JobsApiTest, SeveralProblemsComeTogether) {
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_resources()->set_priority(1000);
  request.mutable_job()->mutable_spec()->mutable_recipe()->mutable_default_scheme()->set_bits(0);
  EXPECT_EQ(ViolationsOf(Create(request).status()).size(), 2u);
}

TEST_F(JobsApiTest, AFullQueueIsSaidWithATimeToComeBack) {
  options_.limits.queue_length = 2;
  StartServer();
  ASSERT_TRUE(Create(NewJob()).ok());
  ASSERT_TRUE(Create(NewJob()).ok());
  grpc::ClientContext context;
  v1::Job job;
  const grpc::Status status = users_->CreateJob(&context, NewJob(), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(FromGrpc(status)), Reason::kQueueFull);
  EXPECT_THAT(status.error_details(), HasSubstr("google.rpc.RetryInfo"));
}

TEST_F(JobsApiTest, PagesAndFilters) {
  std::vector<std::string> names;
  for (int i = 0; i < 7; ++i) {
    v1::CreateJobRequest request = NewJob();
    (*request.mutable_job()->mutable_labels())["parity"] = i % 2 == 0 ? "even" : "odd";
    const auto made = Create(request);
    ASSERT_TRUE(made.ok()) << made.status();
    names.push_back(made->name());
  }
  ASSERT_TRUE(Cancel(names[0]).ok());
  std::vector<std::string> met;
  std::string token;
  do {
    const auto page = List("", 3, token, "create_time");
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::Job& job : page->jobs()) {
      met.push_back(job.name());
      EXPECT_EQ(job.plan().linears_size(), 0);
      EXPECT_GT(job.plan().parameters(), 0);
    }
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_EQ(met, names);
  EXPECT_EQ(List("labels.parity = even")->jobs_size(), 4);
  EXPECT_EQ(List("state = CANCELLED")->jobs(0).name(), names[0]);
  EXPECT_EQ(List("state = PENDING AND labels.parity = \"even\"")->jobs_size(), 3);
  EXPECT_EQ(List("method = int8")->jobs_size(), 0);
  EXPECT_EQ(List("create_time > \"2100-01-01T00:00:00Z\"")->jobs_size(), 0);
  EXPECT_EQ(ReasonOf(List("nonsense").status()), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(List("", -1).status()), Reason::kInvalidField);
  const auto first = List("", 3);
  EXPECT_EQ(ReasonOf(List("state = PENDING", 3, first->next_page_token()).status()),
            Reason::kInvalidField);
}

TEST_F(JobsApiTest, AViewSaysHowMuchOfAJobIsTold) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok()) << made.status();
  v1::GetJobRequest get;
  get.set_name(made->name());
  const auto whole = User(&Stub::GetJob, get);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_GT(whole->plan().linears_size(), 0);
  EXPECT_EQ(whole->spec().model().path(), *RealPath(ModelFolder()));
  get.set_view(v1::JOB_VIEW_BASIC);
  const auto basic = User(&Stub::GetJob, get);
  ASSERT_TRUE(basic.ok()) << basic.status();
  EXPECT_FALSE(basic->has_spec());
  EXPECT_EQ(basic->plan().linears_size(), 0);
  EXPECT_EQ(basic->plan().artifact_bytes(), whole->plan().artifact_bytes());
  EXPECT_EQ(basic->method(), "rtn");
  EXPECT_EQ(basic->model(), whole->spec().model().path());

  v1::ListJobsRequest list;
  EXPECT_EQ(User(&Stub::ListJobs, list)->jobs(0).SerializeAsString(), basic->SerializeAsString());
  list.set_view(v1::JOB_VIEW_FULL);
  EXPECT_EQ(User(&Stub::ListJobs, list)->jobs(0).SerializeAsString(), whole->SerializeAsString());

  get.set_view(static_cast<v1::JobView>(77));
  EXPECT_EQ(ReasonOf(User(&Stub::GetJob, get).status()), Reason::kInvalidField);
  list.set_view(static_cast<v1::JobView>(77));
  EXPECT_EQ(ViolationsOf(User(&Stub::ListJobs, list).status())[0].where, "view");
}

TEST_F(JobsApiTest, APageOfWholeJobsEndsWhereAMessageIsFull) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok()) << made.status();
  // Room for two jobs and a half.
  options_.limits.page_bytes = static_cast<int64_t>(made->ByteSizeLong() * 5 / 2);
  StartServer();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Create(NewJob()).ok());
  v1::ListJobsRequest list;
  list.set_view(v1::JOB_VIEW_FULL);
  std::set<std::string> met;
  std::vector<int> sizes;
  do {
    const auto page = User(&Stub::ListJobs, list);
    ASSERT_TRUE(page.ok()) << page.status();
    sizes.push_back(page->jobs_size());
    for (const v1::Job& job : page->jobs()) EXPECT_TRUE(met.insert(job.name()).second);
    list.set_page_token(page->next_page_token());
  } while (!list.page_token().empty());
  EXPECT_THAT(sizes, testing::ElementsAre(2, 2, 1));
}

TEST_F(JobsApiTest, CancelAndDeleteFollowTheStates) {
  const auto made = Create(NewJob());
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(ReasonOf(Delete(made->name())), Reason::kWrongState);
  EXPECT_EQ(Cancel(made->name())->state(), v1::Job::CANCELLED);
  EXPECT_EQ(Cancel(made->name())->state(), v1::Job::CANCELLED);
  EXPECT_TRUE(Delete(made->name()).ok());
  EXPECT_EQ(ReasonOf(Delete(made->name())), Reason::kJobNotFound);
  EXPECT_EQ(ReasonOf(Get(made->name()).status()), Reason::kJobNotFound);
  EXPECT_EQ(ReasonOf(Cancel("jobs/none").status()), Reason::kJobNotFound);
}

TEST_F(JobsApiTest, CapabilitiesComeFromTheRegistries) {
  const auto capabilities = User(&Stub::GetCapabilities, v1::GetCapabilitiesRequest());
  ASSERT_TRUE(capabilities.ok());
  std::set<std::string> methods;
  for (const auto& method : capabilities->methods()) methods.insert(method.name());
  EXPECT_TRUE(methods.contains("rtn"));
  EXPECT_TRUE(methods.contains("int8"));
  const auto gptq = std::find_if(capabilities->methods().begin(), capabilities->methods().end(),
                                 [](const auto& method) { return method.name() == "gptq"; });
  ASSERT_NE(gptq, capabilities->methods().end());
  std::map<std::string, v1::OptionInfo> options;
  for (const auto& option : gptq->options()) options[option.name()] = option;
  EXPECT_EQ(options["damping"].type(), v1::OptionInfo::NUMBER);
  EXPECT_EQ(options["damping"].default_value().number_value(), 0.01);
  EXPECT_EQ(options["damping"].minimum(), 0.000001);
  EXPECT_EQ(options["damping"].maximum(), 1);
  EXPECT_EQ(options["refit"].type(), v1::OptionInfo::INTEGER);
  EXPECT_EQ(options["refit"].minimum(), -1);
  EXPECT_EQ(options["reference"].type(), v1::OptionInfo::BOOL);
  EXPECT_FALSE(options["reference"].default_value().bool_value());
  EXPECT_EQ(options["act_order"].type(), v1::OptionInfo::CHOICE);
  EXPECT_THAT(options["act_order"].choices(),
              testing::ElementsAre("none", "static", "group-aware", "desc-act"));
  EXPECT_FALSE(options["act_order"].scheme_field());
  EXPECT_TRUE(options["scale_rule"].scheme_field());
  EXPECT_GT(capabilities->formats_size(), 0);
  EXPECT_GT(capabilities->families_size(), 3);
  EXPECT_EQ(capabilities->limits().labels(), 64);
  EXPECT_EQ(capabilities->backends_size(), 0);
  ASSERT_TRUE(Synchronize(Idle()).ok());
  // A backend that only a newer server knows is no backend to ask this one for.
  v1::SynchronizeRequest newer = Idle("newer", "s");
  newer.mutable_capabilities()->add_backends("abacus");
  ASSERT_TRUE(Synchronize(newer).ok());
  const auto with_workers = User(&Stub::GetCapabilities, v1::GetCapabilitiesRequest());
  ASSERT_EQ(with_workers->backends_size(), 1);
  EXPECT_EQ(with_workers->backends(0).backend(), v1::BACKEND_KIND_CPU);
  EXPECT_EQ(with_workers->backends(0).workers(), 2);
}

TEST_F(JobsApiTest, TheMetricsPageCountsJobsAndCalls) {
  ASSERT_TRUE(Create(NewJob()).ok());
  ASSERT_FALSE(Get("jobs/none").ok());
  const std::string page = server_->MetricsPage();
  EXPECT_THAT(page, HasSubstr("quantd_queue_depth 1"));
  EXPECT_THAT(page, HasSubstr("quantd_jobs{state=\"PENDING\",method=\"rtn\"} 1"));
  EXPECT_THAT(page, HasSubstr("method=\"GetJob\""));
  EXPECT_THAT(page, HasSubstr("NOT_FOUND"));
  const std::string file = folder_->path() + "/page";
  ASSERT_TRUE(WriteFileAtomic(file, page).ok());
  if (std::system("command -v promtool > /dev/null") != 0) {
    if (std::getenv("CI") != nullptr) FAIL() << "promtool is missing: run ./dev setup";
    GTEST_SKIP() << "promtool is missing: run ./dev setup";
  }
  EXPECT_EQ(std::system(("promtool check metrics < " + file).c_str()), 0);
}

TEST_F(JobsApiTest, TwoServersDoNotShareAFolder) {
  EXPECT_EQ(ReasonOf(Server::Start(options_).status()), Reason::kWrongState);
}

TEST_F(JobsApiTest, WritesWhereItListens) {
  const auto text = ReadFile(options_.data + "/quantd.address", 1000);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, absl::StrCat("grpc 127.0.0.1:", server_->grpc_port(),
                                "\nmetrics 127.0.0.1:", server_->metrics_port(), "\n"));
}

}  // namespace
}  // namespace quantd
