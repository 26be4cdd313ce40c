// TLS of the server, with certificates that the openssl program makes.
#include "server/api/certificates.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/certificates.h"
#include "proto/secure_channel.h"
#include "tests/server/running_server.h"

namespace quantd {
namespace {

class CertificatesTest : public RunningServerTest {
 protected:
  void SetUp() override {
    RunningServerTest::SetUp();
    MakePair("one");
    MakePair("two");
  }
  std::string Path(const std::string& name) const { return folder_->path() + "/" + name; }
  // NAME.crt, signed by itself, and NAME.key.
  void MakePair(const std::string& name) const {
    const std::string command = absl::StrCat(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "/CN=",
        name, " -addext subjectAltName=IP:127.0.0.1 -keyout ", Path(name + ".key"), " -out ",
        Path(name + ".crt"), " 2>/dev/null");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  void Copy(const std::string& from, const std::string& to) const {
    ASSERT_TRUE(CopyFileAtomic(Path(from), Path(to)).ok());
  }
  // Both files of the server, from this pair.
  void Use(const std::string& name) const {
    Copy(name + ".crt", "server.crt");
    Copy(name + ".key", "server.key");
  }
  void StartWithTls(const std::string& client_authority = "") {
    options_.tls = {.certificate = Path("server.crt"),
                    .key = Path("server.key"),
                    .client_authority = client_authority};
    StartServer();
  }
  // One call over a new connection.
  absl::Status Try(const ChannelSecurity& security) const {
    const std::string server = absl::StrCat("127.0.0.1:", server_->grpc_port());
    QD_ASSIGN_OR_RETURN(const auto credentials, ChannelCredentialsFor(server, security));
    grpc::ChannelArguments apart;
    apart.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub =
        v1::QuantizationService::NewStub(grpc::CreateCustomChannel(server, credentials, apart));
    grpc::ClientContext context;
    SetDeadline(context);
    v1::ListJobsResponse response;
    return FromGrpc(stub->ListJobs(&context, v1::ListJobsRequest(), &response));
  }
};

TEST_F(CertificatesTest, ARenewedPairCountsFromTheNextConnectionOn) {
  Use("one");
  StartWithTls();
  EXPECT_TRUE(Try({.authority = Path("one.crt")}).ok());
  EXPECT_EQ(Try({.authority = Path("two.crt")}).code(), absl::StatusCode::kUnavailable);
  // Half of a renewed pair is no pair: the one before stays.
  Copy("two.crt", "server.crt");
  EXPECT_TRUE(Try({.authority = Path("one.crt")}).ok());
  Copy("two.key", "server.key");
  EXPECT_TRUE(Try({.authority = Path("two.crt")}).ok());
  EXPECT_FALSE(Try({.authority = Path("one.crt")}).ok());
  // A file that is gone, or is no certificate, changes nothing.
  ASSERT_TRUE(WriteFileAtomic(Path("server.crt"), "rubbish").ok());
  EXPECT_TRUE(Try({.authority = Path("two.crt")}).ok());
  ASSERT_TRUE(RemoveTree(Path("server.key")).ok());
  EXPECT_TRUE(Try({.authority = Path("two.crt")}).ok());
  Use("one");
  EXPECT_TRUE(Try({.authority = Path("one.crt")}).ok());
}

TEST_F(CertificatesTest, AClientNeedsACertificateOfTheAuthority) {
  Use("one");
  MakePair("client");
  MakePair("stranger");
  StartWithTls(Path("client.crt"));
  const std::string authority = Path("one.crt");
  EXPECT_FALSE(Try({.authority = authority}).ok());
  EXPECT_FALSE(Try({.authority = authority,
                    .certificate = Path("stranger.crt"),
                    .key = Path("stranger.key")})
                   .ok());
  const absl::Status let_in =
      Try({.authority = authority, .certificate = Path("client.crt"), .key = Path("client.key")});
  EXPECT_TRUE(let_in.ok()) << let_in;
  // Plain text is no way in.
  EXPECT_FALSE(Try({}).ok());
}

TEST_F(CertificatesTest, LocalWorkersHaveASocketOfTheirOwn) {
  Use("one");
  StartWithTls(Path("two.crt"));
  EXPECT_THAT(server_->LocalAddress(), testing::StartsWith("unix:"));
  const auto stub = v1::QuantizationService::NewStub(
      grpc::CreateChannel(server_->LocalAddress(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ListJobsResponse response;
  EXPECT_TRUE(stub->ListJobs(&context, v1::ListJobsRequest(), &response).ok());
}

TEST_F(CertificatesTest, WhatCannotBeUsedIsRefusedByItsName) {
  const auto refusal = [](const TlsFiles& files) {
    return std::string(Certificates::Open(files).status().message());
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal({.certificate = Path("none.crt"), .key = Path("one.key")}),
              HasSubstr("tls-cert"));
  EXPECT_THAT(refusal({.certificate = Path("one.crt"), .key = Path("none.key")}),
              HasSubstr("tls-key"));
  EXPECT_THAT(refusal({.certificate = Path("one.crt"), .key = Path("two.key")}),
              HasSubstr("the key of another certificate"));
  EXPECT_THAT(refusal({.certificate = Path("one.key"), .key = Path("one.key")}),
              HasSubstr("no certificate"));
  EXPECT_THAT(refusal({.certificate = Path("one.crt"), .key = Path("one.crt")}),
              HasSubstr("no key that can be read"));
  EXPECT_THAT(refusal({.certificate = Path("one.crt"),
                       .key = Path("one.key"),
                       .client_authority = Path("one.key")}),
              HasSubstr("tls-client-ca"));
  const auto text = ReadFile(Path("one.crt"), 1 << 20);
  EXPECT_GT(EndOfCertificate(*text), absl::Now() + absl::Hours(24));
}

TEST(SecureChannelTest, ATokenTravelsInPlainTextToThisMachineAlone) {
  const ChannelSecurity with_token = {.token = "secret"};
  const auto code = [](const std::string& server, const ChannelSecurity& security) {
    return ChannelCredentialsFor(server, security).status().code();
  };
  for (const char* here : {"127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/x"}) {
    EXPECT_EQ(code(here, with_token), absl::StatusCode::kOk) << here;
  }
  for (const char* there :
       {"10.0.0.1:1", "example.org:1", "localhost.example.org:1", "127.example.org:1"}) {
    EXPECT_EQ(code(there, with_token), absl::StatusCode::kInvalidArgument) << there;
    EXPECT_EQ(code(there, {}), absl::StatusCode::kOk) << there;
    EXPECT_EQ(code(there, {.token = "secret", .plaintext = Plaintext::kAnywhere}),
              absl::StatusCode::kOk);
  }
  EXPECT_EQ(code("127.0.0.1:1", {.token = "two\nlines"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("127.0.0.1:1", {.key = "k"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("127.0.0.1:1", {.certificate = "c", .key = "k"}),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace quantd
