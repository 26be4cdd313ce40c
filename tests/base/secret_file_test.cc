#include "base/secret_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::Not;

class SecretFileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("secret");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryFolder>(*std::move(folder));
    path_ = folder_->path() + "/secret";
  }
  mode_t Mode() const {
    struct stat status{};
    EXPECT_EQ(stat(path_.c_str(), &status), 0);
    return status.st_mode & 0777;
  }

  std::unique_ptr<TemporaryFolder> folder_;
  std::string path_;
};

TEST_F(SecretFileTest, IsForItsOwnerWhateverTheUmaskAndWhateverWasThere) {
  const mode_t before = umask(0);
  ASSERT_TRUE(WriteFileAtomic(path_, "older").ok());
  EXPECT_EQ(chmod(path_.c_str(), 0666), 0);
  EXPECT_EQ(ReasonOf(CheckPrivate(path_)), Reason::kWrongState);
  ASSERT_TRUE(WriteSecretFile(path_, "s3cret\n").ok());
  umask(before);
  EXPECT_EQ(Mode(), 0600);
  EXPECT_TRUE(CheckPrivate(path_).ok());
  EXPECT_EQ(ListFolder(folder_->path()).value(), std::vector<std::string>{"secret"});
}

TEST_F(SecretFileTest, IsReadWithoutTheSpaceAroundIt) {
  ASSERT_TRUE(WriteSecretFile(path_, "\n s3cret \n").ok());
  EXPECT_EQ(ReadSecretFile("--token-file", path_).value(), "s3cret");
}

TEST_F(SecretFileTest, WhatIsNoSecretIsRefusedWithoutAWordOfIt) {
  for (const std::string& text :
       {std::string(), std::string(" \n"), std::string("one\ntwo"), std::string("one two"),
        std::string("one\0two", 7), std::string(100 << 10, 'x')}) {
    ASSERT_TRUE(WriteSecretFile(path_, text).ok());
    const absl::Status refused = ReadSecretFile("--token-file", path_).status();
    EXPECT_EQ(ReasonOf(refused), Reason::kInvalidField) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("--token-file"));
    EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("one")));
  }
  EXPECT_EQ(ReasonOf(ReadSecretFile("--token-file", path_ + "-none").status()),
            Reason::kInvalidField);
}

TEST_F(SecretFileTest, WhereNothingCanBeWrittenNothingIsLeft) {
  EXPECT_FALSE(WriteSecretFile(folder_->path() + "/none/secret", "s").ok());
  ASSERT_TRUE(MakeFolders(path_ + "/in-the-way").ok());
  EXPECT_FALSE(WriteSecretFile(path_, "s").ok());
  EXPECT_EQ(ListFolder(folder_->path())->size(), 1);
}

}  // namespace
}  // namespace quantd
