#include "server/api/job_filter.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/api/page_token.h"
#include "server/api/request_checks.h"
#include "server/id.h"

namespace quantd {
namespace {

using Field = JobCondition::Field;
using Comparison = JobCondition::Comparison;

TEST(JobFilterTest, ReadsEveryFieldAndComparison) {
  const auto conditions = ParseJobFilter(
      R"(state = RUNNING AND labels.team != "x \"y\" \\z" AND method=rtn AND model = /models/a-1.b AND create_time >= "2026-01-02T03:04:05Z")");
  ASSERT_TRUE(conditions.ok()) << conditions.status();
  ASSERT_EQ(conditions->size(), 5u);
  EXPECT_EQ((*conditions)[0].state, JobState::kRunning);
  EXPECT_EQ((*conditions)[1].field, Field::kLabel);
  EXPECT_EQ((*conditions)[1].comparison, Comparison::kNotEqual);
  EXPECT_EQ((*conditions)[1].key, "team");
  EXPECT_EQ((*conditions)[1].text, "x \"y\" \\z");
  EXPECT_EQ((*conditions)[2].text, "rtn");
  EXPECT_EQ((*conditions)[3].text, "/models/a-1.b");
  EXPECT_EQ((*conditions)[4].comparison, Comparison::kGreaterOrEqual);
  EXPECT_EQ((*conditions)[4].time,
            absl::FromCivil(absl::CivilSecond(2026, 1, 2, 3, 4, 5), absl::UTCTimeZone()));
}

TEST(JobFilterTest, NothingFiltersNothing) {
  for (const char* filter : {"", "  "}) {
    const auto conditions = ParseJobFilter(filter);
    ASSERT_TRUE(conditions.ok());
    EXPECT_TRUE(conditions->empty());
  }
}

TEST(JobFilterTest, SaysWhereItStopsToMakeSense) {
  for (const char* filter :
       {"stat = RUNNING", "state RUNNING", "state =", "state = SLEEPING", "state < RUNNING",
        "state = RUNNING OR state = FAILED", "state = RUNNING AND", "labels. = x",
        "create_time > yesterday", "model = \"open", "model = \"\\n\"", "method = a method = b",
        "state = RUNNING; DROP TABLE jobs"}) {
    const auto conditions = ParseJobFilter(filter);
    EXPECT_EQ(ReasonOf(conditions.status()), Reason::kInvalidField) << filter;
    EXPECT_NE(conditions.status().message().find("filter at character"), absl::string_view::npos);
  }
  EXPECT_FALSE(ParseJobFilter(std::string(3000, 'a')).ok());
  std::string many = "state = RUNNING";
  for (int i = 0; i < 16; ++i) many += " AND state = RUNNING";
  EXPECT_FALSE(ParseJobFilter(many).ok());
}

TEST(JobOrderTest, Table) {
  EXPECT_EQ(*ParseJobOrder(""), JobOrder::kNewestFirst);
  EXPECT_EQ(*ParseJobOrder("create_time desc"), JobOrder::kNewestFirst);
  EXPECT_EQ(*ParseJobOrder("create_time"), JobOrder::kOldestFirst);
  EXPECT_EQ(*ParseJobOrder("create_time asc"), JobOrder::kOldestFirst);
  EXPECT_FALSE(ParseJobOrder("state").ok());
}

TEST(PageTokenTest, GoesRoundAndIsBoundToItsQuery) {
  const JobCursor cursor{.create_time = absl::FromUnixMicros(123456789), .number = 42};
  const std::string token = EncodeJobToken(cursor, "filter");
  const auto decoded = DecodeJobToken(token, "filter");
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->number, 42);
  EXPECT_EQ(decoded->create_time, cursor.create_time);
  EXPECT_EQ(ReasonOf(DecodeJobToken(token, "another").status()), Reason::kInvalidField);
  for (const char* bad : {"x", "AAAA", "!!!!", "MTox"}) {
    EXPECT_EQ(ReasonOf(DecodeJobToken(bad, "filter").status()), Reason::kInvalidField) << bad;
  }
}

TEST(RequestChecksTest, NamesAndIds) {
  EXPECT_EQ(*JobIdFromName("jobs/a-1"), "a-1");
  for (const char* bad : {"", "jobs/", "jobs/A", "jobs/-a", "jobs/a/b", "job/a", "jobs/../x",
                          "jobs/a\n", "models/a"}) {
    EXPECT_FALSE(JobIdFromName(bad).ok()) << bad;
  }
  EXPECT_FALSE(IsId(std::string(64, 'a')));
  EXPECT_TRUE(IsId(std::string(63, 'a')));
  EXPECT_TRUE(CheckRequestId("123e4567-E89b-12d3-a456-426614174000").ok());
  EXPECT_FALSE(CheckRequestId("123e4567-e89b-12d3-a456-42661417400").ok());
  EXPECT_FALSE(CheckRequestId("123e4567-e89b-12d3-a456-42661417400g").ok());
}

}  // namespace
}  // namespace quantd
