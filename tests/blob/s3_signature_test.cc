#include "blob/s3/s3_signature.h"

#include "base/digest.h"
#include "blob/s3/s3_location.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::EndsWith;

// The examples of "Authenticating Requests: Using the Authorization Header (AWS Signature Version
// 4)", Amazon S3 API reference.
const S3Keys kKeys = {.id = "AKIAIOSFODNN7EXAMPLE",
                      .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
constexpr char kHost[] = "examplebucket.s3.amazonaws.com";

std::string Signature(const S3Request& request) {
  const absl::Time time = absl::FromCivil(absl::CivilSecond(2013, 5, 24), absl::UTCTimeZone());
  return SignedHeaders(request, kKeys, "us-east-1", time).at("authorization");
}

TEST(S3SignatureTest, GetObject) {
  EXPECT_THAT(Signature({.method = "GET",
                         .host = kHost,
                         .path = "/test.txt",
                         .headers = {{"range", "bytes=0-9"}},
                         .body_sha256 = Sha256Hex("")}),
              EndsWith("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
                       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
}

TEST(S3SignatureTest, PutObject) {
  EXPECT_THAT(Signature({.method = "PUT",
                         .host = kHost,
                         .path = "/test$file.text",
                         .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                     {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                         .body_sha256 = Sha256Hex("Welcome to Amazon S3.")}),
              EndsWith("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(S3SignatureTest, AQueryWithoutAValue) {
  EXPECT_THAT(Signature({.method = "GET",
                         .host = kHost,
                         .path = "/",
                         .query = {{"lifecycle", ""}},
                         .body_sha256 = Sha256Hex("")}),
              EndsWith("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(S3SignatureTest, ListObjects) {
  EXPECT_THAT(Signature({.method = "GET",
                         .host = kHost,
                         .path = "/",
                         .query = {{"prefix", "J"}, {"max-keys", "2"}},
                         .body_sha256 = Sha256Hex("")}),
              EndsWith("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(S3LocationTest, AUriSaysWhere) {
  const auto variable = [](const char* name) {
    const std::string_view asked = name;
    if (asked == "AWS_ACCESS_KEY_ID") return std::string("id");
    return std::string(asked == "AWS_SECRET_ACCESS_KEY" ? "secret" : "");
  };
  const auto own = ParseS3Location("s3://bucket/a/b/?endpoint=http://h:1/&region=eu", variable);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->endpoint, "http://h:1");
  EXPECT_EQ(own->region, "eu");
  EXPECT_EQ(own->bucket, "bucket");
  EXPECT_EQ(own->prefix, "a/b/");
  EXPECT_EQ(ParseS3Location("s3://bucket", variable)->endpoint,
            "https://s3.us-east-1.amazonaws.com");
  for (const char* bad : {"s3://", "s3://B", "s3://bucket/../x", "s3://bucket?keys=1",
                          "s3://bucket?endpoint=ftp://h", "http://bucket"}) {
    EXPECT_FALSE(ParseS3Location(bad, variable).ok()) << bad;
  }
  const auto nothing = [](const char* /*name*/) { return std::string(); };
  EXPECT_FALSE(ParseS3Location("s3://bucket", nothing).ok()) << "no keys";
}

}  // namespace
}  // namespace quantd
