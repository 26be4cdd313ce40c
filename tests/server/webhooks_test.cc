// Webhooks without a wire: which URLs may be called, which addresses are internal, how deliveries
// are signed and when they are tried again.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

#include "base/error.h"
#include "base/hmac.h"
#include "server/webhooks/hosts.h"
#include "server/webhooks/internal_address.h"
#include "server/webhooks/sender.h"

namespace quantd {
namespace {

using testing::HasSubstr;

bool Internal(const char* text) {
  sockaddr_storage storage{};
  if (std::strchr(text, ':') == nullptr) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    EXPECT_EQ(inet_pton(AF_INET, text, &v4.sin_addr), 1) << text;
    std::memcpy(&storage, &v4, sizeof(v4));
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
    std::memcpy(&storage, &v6, sizeof(v6));
  }
  return IsInternalAddress(reinterpret_cast<const sockaddr&>(storage));
}

TEST(InternalAddressTest, KnowsWhatIsNotOfTheWorld) {
  for (const char* address : {"0.0.0.0",
                              "10.0.0.1",
                              "100.64.0.1",
                              "100.127.255.255",
                              "127.0.0.1",
                              "127.255.255.255",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "192.0.2.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "224.0.0.1",
                              "239.1.2.3",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:127.0.0.1",
                              "::ffff:8.8.8.8",
                              "::127.0.0.1",
                              "64:ff9b::10.0.0.1",
                              "64:ff9b::169.254.169.254",
                              "2002:7f00:1::",
                              "2002:a9fe:a9fe::",
                              "2001::1",
                              "2001:db8::1",
                              "fc00::1",
                              "fd00:ec2::254",
                              "fe80::1",
                              "fec0::1",
                              "ff02::1",
                              "100::1",
                              "3fff::1"}) {
    EXPECT_TRUE(Internal(address)) << address;
  }
  for (const char* address :
       {"1.1.1.1",           "8.8.8.8",          "11.0.0.1",        "100.63.255.255",
        "100.128.0.1",       "126.255.255.255",  "128.0.0.1",       "169.253.1.1",
        "172.15.1.1",        "172.32.0.1",       "192.167.1.1",     "192.169.1.1",
        "198.17.0.1",        "198.20.0.1",       "223.255.255.255", "2606:4700::1111",
        "2a00:1450:4001::8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:4860:4860::8888"}) {
    EXPECT_FALSE(Internal(address)) << address;
  }
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  EXPECT_TRUE(IsInternalAddress(reinterpret_cast<const sockaddr&>(other)));
}

WebhookHosts Hosts(const std::vector<std::string>& entries) {
  auto hosts = WebhookHosts::Parse(entries);
  EXPECT_TRUE(hosts.ok()) << hosts.status();
  return *std::move(hosts);
}

TEST(WebhookHostsTest, AllowsWhatTheEntriesSay) {
  const WebhookHosts hosts =
      Hosts({"Hooks.example.com", "*.corp.example", "ported.test:8443", "any.test:*",
             "http://plain.test", "internal:10.0.0.5:9000", "internal:http://[::1]:81"});
  for (const char* url :
       {"https://hooks.example.com/a?b=c", "https://HOOKS.example.com.:443/",
        "HTTPS://hooks.example.com", "https://a.corp.example/", "https://a.b.corp.example/",
        "https://ported.test:8443/", "https://any.test:1/", "https://any.test/",
        "http://plain.test/", "https://plain.test/", "http://plain.test:80/"}) {
    const auto target = hosts.Check("url", url);
    EXPECT_TRUE(target.ok()) << url << ": " << target.status();
    if (target.ok()) {
      EXPECT_FALSE(target->internal) << url;
    }
  }
  for (const char* url :
       {"https://10.0.0.5:9000/", "https://0xa000005:9000/", "http://[::1]:81/"}) {
    const auto target = hosts.Check("url", url);
    EXPECT_TRUE(target.ok()) << url << ": " << target.status();
    if (target.ok()) {
      EXPECT_TRUE(target->internal) << url;
    }
  }
  for (const char* url : {"http://hooks.example.com/",
                          "https://hooks.example.com:444/",
                          "https://corp.example/",
                          "https://evilcorp.example/",
                          "https://hooks.example.com.evil.test/",
                          "https://ported.test/",
                          "http://any.test/",
                          "http://plain.test:8080/",
                          "http://10.0.0.5:9000/",
                          "https://user@hooks.example.com/",
                          "https://u:p@hooks.example.com/",
                          "https://hooks.example.com/#fragment",
                          "https://evil.test/#@hooks.example.com",
                          "https://evil.test\\@hooks.example.com/",
                          "ftp://hooks.example.com/",
                          "hooks.example.com",
                          "https://hooks.example.com/a b",
                          "https://hooks.example.com/\n",
                          "",
                          "https://"}) {
    const auto target = hosts.Check("url", url);
    EXPECT_FALSE(target.ok()) << url;
    EXPECT_EQ(ReasonOf(target.status()), Reason::kInvalidField);
  }
  EXPECT_THAT(std::string(hosts.Check("url", "https://no.test/").status().message()),
              HasSubstr("*.corp.example"));
}

TEST(WebhookHostsTest, NoEntriesSwitchThemOff) {
  const auto target = WebhookHosts().Check("url", "https://a.test/");
  EXPECT_THAT(std::string(target.status().message()), HasSubstr("webhook-secret-file"));
}

TEST(WebhookHostsTest, RefusesEntriesThatAreNone) {
  for (const char* entry : {"", "*", "*.", "a.test:0", "a.test:70000", "a.test:x", "https://a.test",
                            "a.test/path", "u@a.test", "a b", "internal:", "http://", "a.*.test"}) {
    EXPECT_FALSE(WebhookHosts::Parse({entry}).ok()) << entry;
  }
}

// RFC 4231, cases 1, 2 and 6.
TEST(HmacTest, AgreesWithTheRfc) {
  EXPECT_EQ(HmacSha256Hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(HmacSha256Hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(HmacSha256Hex(std::string(131, '\xaa'),
                          "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(SenderTest, WaitsLongerEachTimeAndGivesUpAfterADay) {
  const Limits limits;
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  Delivery delivery{.create_time = start, .next_attempt_time = start};
  absl::Time now = start;
  std::vector<absl::Duration> waits;
  while (delivery.state == DeliveryState::kPending) {
    NoteOutcome({.status = 500}, limits, now, 1, delivery);
    waits.push_back(delivery.next_attempt_time - now);
    now = delivery.next_attempt_time;
    ASSERT_LT(waits.size(), 100U);
  }
  EXPECT_EQ(delivery.state, DeliveryState::kFailed);
  EXPECT_EQ(waits[0], absl::Seconds(5));
  EXPECT_EQ(waits[1], absl::Seconds(10));
  EXPECT_EQ(waits.back(), absl::Hours(1));
  EXPECT_GT(now, start + absl::Hours(24));
  EXPECT_LE(*delivery.last_attempt_time, start + absl::Hours(24));
  Delivery lucky{.create_time = start};
  NoteOutcome({.status = 500}, limits, start, 0, lucky);
  EXPECT_EQ(lucky.next_attempt_time, start + absl::Seconds(2.5));
}

TEST(SenderTest, SomeAnswersAreFinal) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  const auto after = [&](const PostOutcome& outcome) {
    Delivery delivery{.create_time = now};
    NoteOutcome(outcome, Limits(), now, 0.5, delivery);
    return delivery.state;
  };
  for (const int status : {200, 201, 202, 204}) {
    EXPECT_EQ(after({.status = status}), DeliveryState::kDelivered) << status;
  }
  for (const int status : {0, 408, 429, 500, 502, 503, 504}) {
    EXPECT_EQ(after({.status = status, .error = "x"}), DeliveryState::kPending) << status;
  }
  for (const int status : {301, 307, 400, 401, 404, 410, 422}) {
    EXPECT_EQ(after({.status = status}), DeliveryState::kFailed) << status;
  }
  EXPECT_EQ(after({.error = "internal", .refused_here = true}), DeliveryState::kFailed);
}

TEST(SenderTest, SignsTimeAndBody) {
  EXPECT_EQ(SignatureHeader("key", absl::FromUnixSeconds(1700000000), "{}"),
            "t=1700000000,v1=" + HmacSha256Hex("key", "1700000000.{}"));
}

}  // namespace
}  // namespace quantd
