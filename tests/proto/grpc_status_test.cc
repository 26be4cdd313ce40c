#include "proto/grpc_status.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace quantd {
namespace {

TEST(GrpcStatusTest, EveryReasonGoesRoundWithItsCodeAndDetails) {
  for (const ReasonRow& row : Reasons()) {
    const absl::Status status =
        MakeError(row.reason, "what", Violation{.where = "a.b", .got = "1", .wanted = "2 to 3"});
    const grpc::Status wire = ToGrpc(status);
    EXPECT_EQ(static_cast<int>(wire.error_code()), static_cast<int>(row.code)) << row.name;
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(wire.error_details()));
    google::rpc::ErrorInfo info;
    ASSERT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
    ASSERT_TRUE(details.details(0).UnpackTo(&info));
    EXPECT_EQ(info.reason(), row.name);
    EXPECT_EQ(info.domain(), "quantd");
    EXPECT_EQ(info.metadata().at("retryable"), row.retryable ? "true" : "false");
    const absl::Status back = FromGrpc(wire);
    EXPECT_EQ(ReasonOf(back), row.reason);
    ASSERT_EQ(ViolationsOf(back).size(), 1u);
    EXPECT_EQ(ViolationsOf(back)[0].where, "a.b");
    EXPECT_EQ(ViolationsOf(back)[0].got, "1");
    EXPECT_EQ(ViolationsOf(back)[0].wanted, "2 to 3");
  }
}

TEST(GrpcStatusTest, OkIsOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

TEST(GrpcStatusTest, AnErrorThatIsNotOursIsInternal) {
  EXPECT_EQ(ToGrpc(absl::UnknownError("x")).error_code(), grpc::StatusCode::INTERNAL);
}

TEST(GrpcStatusTest, ErrorsOfGrpcItselfGetAReasonByTheirCode) {
  EXPECT_EQ(ReasonOf(FromGrpc({grpc::StatusCode::UNAVAILABLE, "no connection"})),
            Reason::kUnavailable);
  EXPECT_EQ(ReasonOf(FromGrpc({grpc::StatusCode::UNIMPLEMENTED, "no such method"})),
            Reason::kUnimplemented);
  EXPECT_EQ(ReasonOf(FromGrpc({grpc::StatusCode::INTERNAL, "?", "not a message"})),
            Reason::kInternal);
}

TEST(GrpcStatusTest, StaysWithinWhatClientsAccept) {
  std::vector<Violation> violations(
      300, {.where = std::string(300, 'w'), .got = std::string(10'000, 'g'), .wanted = "é"});
  const grpc::Status wire = ToGrpc(MakeError(Reason::kRecipeInvalid, "many", violations));
  // base64 makes the details a third larger, percent-encoding the message up to three times.
  EXPECT_LT(wire.error_details().size() * 4 / 3 + wire.error_message().size() * 3, 7500u);
  EXPECT_GE(ViolationsOf(FromGrpc(wire)).size(), 1u);
}

}  // namespace
}  // namespace quantd
