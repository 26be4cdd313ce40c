// docs/errors.md is made from the table of reasons; this keeps it in step.
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "tests/paths.h"

namespace quantd {
namespace {

std::string Page() {
  std::string page =
      "# Errors\n\n"
      "Every error of the API carries `google.rpc.ErrorInfo` with domain `quantd` and one of these "
      "reasons; a failed job\n"
      "carries the same in `job.error`. Fault says whose it is; a retryable failure of a job is "
      "tried again by the server,\n"
      "up to `max-attempts` times. This page is made from the table in base/error.cc: change that, "
      "then run\n"
      "`QUANTD_UPDATE_DOCS=1 proto_test --gtest_filter=ErrorsDocTest.*`.\n\n"
      "| Reason | gRPC code | Fault | Retryable | Meaning |\n|---|---|---|---|---|\n";
  for (const ReasonRow& row : Reasons()) {
    absl::StrAppend(&page, "| `", ToAbsl(row.name), "` | ", absl::StatusCodeToString(row.code),
                    " | ", row.fault == Fault::kUser ? "user" : "system", " | ",
                    row.retryable ? "yes" : "no", " | ", ToAbsl(row.text), " |\n");
  }
  return page;
}

TEST(ErrorsDocTest, IsInStepWithTheTable) {
  const std::string path = SourcePath("docs/errors.md");
  if (std::getenv("QUANTD_UPDATE_DOCS") != nullptr) {
    ASSERT_TRUE(WriteFileAtomic(path, Page()).ok());
  }
  const auto text = ReadFile(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, Page()) << "run this test with QUANTD_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace quantd
