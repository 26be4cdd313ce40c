// When the agent calls its server, on a clock that the test turns where time matters.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/convert_time.h"
#include "tests/worker/running_agent.h"

namespace quantd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class AgentCallsTest : public AgentTest {
 protected:
  ~AgentCallsTest() override { End(); }  // before the clock goes

  // Has no news and lets the server hold the call.
  static bool Silent(const v1::SynchronizeRequest& request) {
    return Reports(request, v1::TaskReport::RUNNING) && request.task().events().empty() &&
           request.has_long_poll();
  }

  static bool TellsProgress(const v1::SynchronizeRequest& request) {
    const auto& events = request.task().events();
    return std::any_of(events.begin(), events.end(),
                       [](const v1::TaskEvent& event) { return event.has_progress(); });
  }

  void UseManualClock() {
    clock_ = &manual_;
    options_.batch_events = absl::ZeroDuration();
  }
  absl::Duration passed() const { return manual_.Now() - kStart; }
  // Turns the clock by `step` again and again until `done`.
  bool TurnUntil(const std::function<bool()>& done, absl::Duration step) {
    const absl::Time end = absl::Now() + kPatience;
    while (!done()) {
      if (absl::Now() > end) return false;
      manual_.Advance(step);
      absl::SleepFor(absl::Milliseconds(2));  // for the agent's turn
    }
    return true;
  }
  bool Asked(const std::function<bool(const v1::SynchronizeRequest&)>& wanted) const {
    const auto requests = server_->requests();
    return std::any_of(requests.begin(), requests.end(), wanted);
  }

  static constexpr absl::Time kStart = absl::UnixEpoch();
  ManualClock manual_{kStart};
  std::atomic<int64_t> dropped_after_ms_{-1};
};

TEST_F(AgentCallsTest, AnIdleWorkerSaysWhoItIsAndPollsLong) {
  options_.capabilities.add_backends("cpu");
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const auto request = server_->requests()[0];
  EXPECT_EQ(request.worker(), "tester");
  EXPECT_EQ(request.session(), "session");
  EXPECT_THAT(request.capabilities().backends(), ElementsAre("cpu"));
  EXPECT_GT(request.free_memory_bytes(), 0);
  EXPECT_EQ(request.long_poll().seconds(), 30);
  EXPECT_EQ(server_->requests().size(), 1u) << "called again although the server held the call";
}

TEST_F(AgentCallsTest, AServerThatAnswersIdleAtOnceIsNotFlooded) {
  UseManualClock();
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  server_->hold = false;
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const size_t before = server_->requests().size();
  EXPECT_LE(before, 2u);  // the very first may have been held
  ASSERT_TRUE(
      TurnUntil([&] { return server_->requests().size() > before; }, absl::Milliseconds(10)));
  EXPECT_GE(passed(), absl::Milliseconds(990));
}

TEST_F(AgentCallsTest, ASilentTaskStillRenewsItsLease) {
  UseMisbehavingChild("sleep");
  Begin(OneTask([this](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    response.mutable_next_call_delay()->set_seconds(0);
    response.mutable_next_call_delay()->set_nanos(20'000'000);
    if (++calls_ >= 5) return Say(response, v1::SynchronizeResponse::CANCEL);
    return GoOn(request, response);
  }));
  ASSERT_TRUE(WaitForIdleAgain());
  EXPECT_GE(calls_, 5);
  EXPECT_LE(Events().size(), 1u);
}

TEST_F(AgentCallsTest, TheServerHoldsTheCallOfASilentTask) {
  UseManualClock();
  UseMisbehavingChild("sleep");
  Begin(OneTask());
  ASSERT_TRUE(TurnUntil([this] { return Asked(&Silent); }, absl::Milliseconds(10)));
  // While the call is held no time makes the worker call again.
  manual_.Advance(absl::Seconds(20));
  End();
  int silent = 0;
  for (const v1::SynchronizeRequest& request : server_->requests()) {
    if (!Silent(request)) continue;
    ++silent;
    EXPECT_EQ(FromProto(request.long_poll()), absl::Seconds(5)) << "not what the server asked for";
  }
  EXPECT_EQ(silent, 1);
}

TEST_F(AgentCallsTest, NewsEndTheCallOfASilentTask) {
  options_.longest_silence = absl::Milliseconds(20);
  UseMisbehavingChild("seal-when-told");
  Begin(OneTask([](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    response.mutable_next_call_delay()->set_seconds(600);
    return GoOn(request, response);
  }));
  // The child tells that the pipe is there; the call after that is silent, and held.
  ASSERT_TRUE(
      TurnUntil([this] { return Asked(&TellsProgress) && Silent(server_->requests().back()); },
                absl::ZeroDuration()));
  // Opening the pipe lets the child go on.
  const std::string pipe = options_.resources.scratch_folder + "/task-7/go";
  const int told = open(pipe.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(told, 0);
  close(told);
  EXPECT_TRUE(server_->WaitFor([](const v1::SynchronizeRequest& request) {
    return std::any_of(request.task().events().begin(), request.task().events().end(),
                       [](const v1::TaskEvent& event) { return event.has_file_sealed(); });
  }));
  EXPECT_GE(server_->hang_ups, 1);
}

TEST_F(AgentCallsTest, WithoutAServerTheTaskGoesOnUntilItsLeaseHasPassed) {
  UseManualClock();
  UseMisbehavingChild("sleep");
  Begin([&](const v1::SynchronizeRequest& request, v1::SynchronizeResponse& response) {
    if (request.has_task()) {
      ++calls_;
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the network is cut");
    }
    if (given_ > 0 && dropped_after_ms_ < 0) {
      dropped_after_ms_ = absl::ToInt64Milliseconds(passed());
    }
    return OneTask()(request, response);
  });
  ASSERT_TRUE(TurnUntil([this] { return calls_ >= 5; }, absl::Milliseconds(20)));
  ASSERT_LT(passed(), absl::Seconds(55)) << "this machine is too busy";
  manual_.Advance(absl::Seconds(59) - passed());
  ASSERT_TRUE(TurnUntil([&] { return dropped_after_ms_ >= 0; }, absl::Milliseconds(20)));
  EXPECT_GE(dropped_after_ms_, 60'000) << "given up too early";
  EXPECT_THAT(Scratch(), IsEmpty());
}

// A stub whose first calls throw.
class ThrowingStub : public v1::WorkerService::StubInterface {
 public:
  ThrowingStub(std::unique_ptr<StubInterface> stub, int throws)
      : stub_(std::move(stub)), throws_(throws) {}
  grpc::Status Synchronize(grpc::ClientContext* context, const v1::SynchronizeRequest& request,
                           v1::SynchronizeResponse* response) override {
    if (throws_-- > 0) throw std::runtime_error("no room");
    return stub_->Synchronize(context, request, response);
  }

 private:
  using Reader = grpc::ClientAsyncResponseReaderInterface<v1::SynchronizeResponse>;
  Reader* AsyncSynchronizeRaw(grpc::ClientContext*, const v1::SynchronizeRequest&,
                              grpc::CompletionQueue*) override {
    return nullptr;
  }
  Reader* PrepareAsyncSynchronizeRaw(grpc::ClientContext*, const v1::SynchronizeRequest&,
                                     grpc::CompletionQueue*) override {
    return nullptr;
  }

  const std::unique_ptr<StubInterface> stub_;
  int throws_;
};

TEST_F(AgentCallsTest, WhatATurnThrowsIsTriedAgain) {
  wrap_stub_ = [](Stub stub) { return std::make_unique<ThrowingStub>(std::move(stub), 3); };
  UseMisbehavingChild("sleep");
  Begin(OneTask());
  EXPECT_TRUE(server_->WaitFor(
      [](const auto& request) { return Reports(request, v1::TaskReport::RUNNING); }));
}

TEST_F(AgentCallsTest, ShutdownEndsALongPollAtOnce) {
  Begin([](const auto&, auto& response) { return Say(response, v1::SynchronizeResponse::IDLE); });
  ASSERT_TRUE(server_->WaitFor(&Idle));
  const absl::Time before = absl::Now();
  End();
  EXPECT_LT(absl::Now() - before, absl::Seconds(10)) << "waited for the long poll";
  EXPECT_TRUE(server_->requests().back().draining()) << "left without a word";
}

}  // namespace
}  // namespace quantd
