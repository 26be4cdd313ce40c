// Every rpc of the services has its row, and docs/security.md shows the table as it is.
#include "server/access/rpc_table.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "quantd/v1/quantization_service.pb.h"
#include "quantd/v1/worker_service.pb.h"
#include "tests/paths.h"

namespace quantd {
namespace {

constexpr char kBegin[] = "<!-- made from server/access/rpc_table.h -->\n";
constexpr char kEnd[] = "<!-- end -->\n";

const RpcRow* FindRow(std::string_view service, std::string_view method) {
  const auto found = std::find_if(kRpcs.begin(), kRpcs.end(), [&](const RpcRow& row) {
    return row.service == service && row.method == method;
  });
  return found == kRpcs.end() ? nullptr : found;
}

TEST(RpcTableTest, EveryRpcHasARow) {
  int rpcs = 0;
  for (const google::protobuf::FileDescriptor* file :
       {v1::CreateJobRequest::descriptor()->file(), v1::SynchronizeRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      const google::protobuf::ServiceDescriptor& service = *file->service(s);
      for (int m = 0; m < service.method_count(); ++m, ++rpcs) {
        const RpcRow* row = FindRow(service.full_name(), service.method(m)->name());
        ASSERT_NE(row, nullptr) << service.method(m)->full_name();
        EXPECT_NE(row->roles.bits(), 0) << "an rpc of ours that needs no role";
      }
    }
  }
  // And no row of ours is of an rpc that there is not.
  EXPECT_EQ(rpcs, std::count_if(kRpcs.begin(), kRpcs.end(), [](const RpcRow& row) {
              return row.service.starts_with("quantd.");
            }));
}

std::string Table() {
  std::string table = kBegin;
  absl::StrAppend(&table, "| rpc | user | worker | admin | no token | expired or revoked |\n",
                  "|---|---|---|---|---|---|\n");
  for (const RpcRow& row : kRpcs) {
    const bool open = row.roles.bits() == 0;
    absl::StrAppend(&table, "| ", std::string(row.service), "/", std::string(row.method), " |");
    for (const Role role : kRoles) {
      absl::StrAppend(&table, open || row.roles.Has(role) ? " yes |" : " PERMISSION_DENIED |");
    }
    const char* nobody = open ? " yes |" : " UNAUTHENTICATED |";
    absl::StrAppend(&table, nobody, nobody, "\n");
  }
  return table + kEnd;
}

TEST(RpcTableTest, ThePageOnSecurityShowsIt) {
  const std::string path = SourcePath("docs/security.md");
  auto text = ReadFile(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const size_t begin = text->find(kBegin), end = text->find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const size_t bytes = end + sizeof kEnd - 1 - begin;
  if (std::getenv("QUANTD_UPDATE_DOCS") != nullptr) {
    text->replace(begin, bytes, Table());
    ASSERT_TRUE(WriteFileAtomic(path, *text).ok());
    return;
  }
  EXPECT_EQ(text->substr(begin, bytes), Table()) << "run this test with QUANTD_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace quantd
