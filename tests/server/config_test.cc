#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

using testing::HasSubstr;

std::string SourceOf(const LoadedConfig& loaded, const std::string& key) {
  for (const ConfigValue& value : loaded.values) {
    if (value.key == key) return value.source;
  }
  return "";
}

TEST(ConfigTest, DefaultsAreLoopbackAndNoRoots) {
  const auto loaded = LoadConfig({});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.listen, "127.0.0.1:8470");
  EXPECT_TRUE(loaded->config.model_roots.empty());
  EXPECT_EQ(SourceOf(*loaded, "listen"), "default");
}

TEST(ConfigTest, FlagBeatsEnvironmentBeatsFile) {
  const auto folder = TemporaryFolder::Create("config");
  ASSERT_TRUE(folder.ok());
  const std::string file = folder->path() + "/quantd.yaml";
  ASSERT_TRUE(WriteFileAtomic(file,
                              "listen: 127.0.0.1:1\ndata: from-file\nmetrics: 127.0.0.1:2\n"
                              "model-root: [/a, /b]\nlease: 90s\n")
                  .ok());
  const auto loaded =
      LoadConfig({.flags = {{"listen", {"127.0.0.1:3"}}},
                  .environment = {{"QUANTD_LISTEN", "127.0.0.1:4"}, {"QUANTD_DATA", "from-env"}},
                  .file = file});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.listen, "127.0.0.1:3");
  EXPECT_EQ(loaded->config.data, "from-env");
  EXPECT_EQ(loaded->config.metrics, "127.0.0.1:2");
  EXPECT_EQ(loaded->config.model_roots, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(loaded->config.limits.lease, absl::Seconds(90));
  EXPECT_EQ(SourceOf(*loaded, "listen"), "flag --listen");
  EXPECT_EQ(SourceOf(*loaded, "data"), "environment QUANTD_DATA");
  EXPECT_EQ(SourceOf(*loaded, "metrics"), "file " + file);
  EXPECT_THAT(PrintConfig(*loaded), HasSubstr("data = from-env  # environment QUANTD_DATA\n"));
}

TEST(ConfigTest, AllProblemsAreToldAtOnce) {
  const auto folder = TemporaryFolder::Create("config");
  ASSERT_TRUE(folder.ok());
  const std::string file = folder->path() + "/quantd.yaml";
  ASSERT_TRUE(WriteFileAtomic(file, "listne: 1\nlocal-workers: many\n").ok());
  const auto loaded = LoadConfig({.flags = {{"log-level", {"loud"}}, {"listen", {"0.0.0.0:1"}}},
                                  .environment = {{"QUANTD_LSITEN", "x"}},
                                  .file = file});
  ASSERT_FALSE(loaded.ok());
  const std::string text(loaded.status().message());
  EXPECT_THAT(text, HasSubstr("key listne"));
  EXPECT_THAT(text, HasSubstr("local-workers"));
  EXPECT_THAT(text, HasSubstr("QUANTD_LSITEN"));
  EXPECT_THAT(text, HasSubstr("loud"));
  EXPECT_THAT(text, HasSubstr("--insecure"));
}

TEST(ConfigTest, APublicAddressNeedsInsecure) {
  for (const char* address :
       {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.org:1", "127.example.org:1"}) {
    EXPECT_FALSE(LoadConfig({.flags = {{"listen", {address}}}}).ok()) << address;
    EXPECT_TRUE(LoadConfig({.flags = {{"listen", {address}}, {"insecure", {"true"}}}}).ok());
  }
  for (const char* address : {"127.0.0.1:0", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(LoadConfig({.flags = {{"listen", {address}}}}).ok()) << address;
  }
}

TEST(ConfigTest, APublicAddressOverTlsNeedsTokensUnlessClientsHaveCertificates) {
  using Flags = std::map<std::string, std::vector<std::string>>;
  const Flags tls = {{"tls-cert", {"c"}}, {"tls-key", {"k"}}};
  const auto rule = [&](Flags flags) {
    flags.insert(tls.begin(), tls.end());
    const auto loaded = LoadConfig({.flags = std::move(flags)});
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return TokensFor(loaded->config);
  };
  EXPECT_EQ(rule({{"listen", {"0.0.0.0:1"}}}), TokenRule::kAlways);
  EXPECT_EQ(rule({{"listen", {"0.0.0.0:1"}}, {"tls-client-ca", {"a"}}}),
            TokenRule::kOnceThereAreAny);
  EXPECT_EQ(rule({}), TokenRule::kOnceThereAreAny);
  EXPECT_EQ(rule({{"require-tokens", {"true"}}}), TokenRule::kAlways);
  EXPECT_EQ(TokensFor(LoadConfig({})->config), TokenRule::kOnceThereAreAny);
}

TEST(ConfigTest, HalfOfATlsSettingIsRefused) {
  EXPECT_FALSE(LoadConfig({.flags = {{"tls-cert", {"c"}}}}).ok());
  EXPECT_FALSE(LoadConfig({.flags = {{"tls-key", {"k"}}}}).ok());
  EXPECT_FALSE(LoadConfig({.flags = {{"tls-client-ca", {"a"}}}}).ok());
  // Metrics are in plain text still.
  EXPECT_FALSE(
      LoadConfig({.flags = {{"tls-cert", {"c"}}, {"tls-key", {"k"}}, {"metrics", {"0.0.0.0:1"}}}})
          .ok());
}

TEST(ConfigTest, NamesOfOtherProgramsAreLeftAlone) {
  EXPECT_TRUE(LoadConfig({.environment = {{"QUANTD_SERVER", "x"}, {"QUANTD_TOKEN", "y"}}}).ok());
}

TEST(ConfigTest, WebhookHostsAreAListAndGoWithTheirSecret) {
  const auto loaded =
      LoadConfig({.flags = {{"webhook-secret-file", {"secret"}}},
                  .environment = {{"QUANTD_WEBHOOK_HOST", "a.test,internal:http://b.test:81"}}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.webhook_hosts,
            (std::vector<std::string>{"a.test", "internal:http://b.test:81"}));
  const auto alone = LoadConfig({.flags = {{"webhook-host", {"a.test"}}}});
  EXPECT_THAT(std::string(alone.status().message()), HasSubstr("webhook-secret-file"));
  const auto wrong = LoadConfig(
      {.flags = {{"webhook-host", {"https://a.test"}}, {"webhook-secret-file", {"secret"}}}});
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("*.DOMAIN"));
}

}  // namespace
}  // namespace quantd
