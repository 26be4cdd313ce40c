// What every store must do for uploads: names, contents, who uses them. Instantiate as
// StoreConformance.
#pragma once

#include "tests/server/store_conformance.h"

namespace quantd {

template <typename Factory>
class UploadConformance : public StoreConformance<Factory> {
 protected:
  static Upload NewUpload(const std::string& tenant, const std::string& name,
                          const std::vector<std::string>& digests) {
    Upload upload{.tenant = tenant,
                  .name = name,
                  .create_time = StoreConformance<Factory>::At(1),
                  .change_time = StoreConformance<Factory>::At(2)};
    for (const std::string& digest : digests) {
      upload.files.push_back({.path = "file-" + digest, .bytes = 10, .sha256 = digest});
    }
    return upload;
  }
  static Content ContentFor(const std::string& tenant, const std::string& digest) {
    return {.tenant = tenant,
            .sha256 = digest,
            .bytes = 10,
            .blob = "contents/" + tenant + "/" + digest,
            .held = false};
  }
  // With the contents of its files.
  absl::Status Insert(const Upload& upload) {
    return this->store_->Write([&](StoreTransaction& store) -> absl::Status {
      QD_RETURN_IF_ERROR(store.InsertUpload(upload));
      for (const UploadFile& file : upload.files) {
        QD_RETURN_IF_ERROR(store.PutContent(ContentFor(upload.tenant, file.sha256)));
      }
      return absl::OkStatus();
    });
  }
  std::optional<Upload> Find(const std::string& tenant, const std::string& name) {
    const auto found = ReadResult(
        *this->store_, [&](StoreReader& store) { return store.FindUpload(tenant, name); });
    EXPECT_TRUE(found.ok()) << found.status();
    return found.value_or(std::nullopt);
  }
  std::vector<std::string> Names(const std::string& tenant, const std::string& collection,
                                 const std::string& after, int limit) {
    std::vector<std::string> names;
    const auto found = ReadResult(*this->store_, [&](StoreReader& store) {
      return store.ListUploads(tenant, collection, after, limit);
    });
    EXPECT_TRUE(found.ok()) << found.status();
    for (const Upload& upload : found.value_or(std::vector<Upload>())) names.push_back(upload.name);
    return names;
  }
  // The digests that the deletion leaves to nobody.
  std::vector<std::string> Delete(const std::string& tenant, const std::string& name) {
    std::vector<std::string> digests;
    const auto left = WriteResult(
        *this->store_, [&](StoreTransaction& store) { return store.DeleteUpload(tenant, name); });
    EXPECT_TRUE(left.ok()) << left.status();
    for (const Content& content : left.value_or(std::vector<Content>())) {
      digests.push_back(content.sha256);
    }
    return digests;
  }
};

TYPED_TEST_SUITE_P(UploadConformance);

TYPED_TEST_P(UploadConformance, KeepsAnUploadAsItIsAndOneOfEachName) {
  const Upload upload = this->NewUpload("red", "models/a", {"aa", "bb"});
  ASSERT_TRUE(this->Insert(upload).ok());
  EXPECT_EQ(ReasonOf(this->Insert(upload)), Reason::kAlreadyExists);
  ASSERT_TRUE(this->Insert(this->NewUpload("blue", "models/a", {"aa"})).ok());
  this->Reopen();
  const auto found = this->Find("red", "models/a");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->files, upload.files);
  EXPECT_FALSE(found->ready);
  EXPECT_EQ(found->create_time, this->At(1));
  EXPECT_EQ(found->change_time, this->At(2));
  EXPECT_FALSE(this->Find("red", "models/b").has_value());
  EXPECT_FALSE(this->Find("green", "models/a").has_value());

  Upload ready = *found;
  ready.ready = true;
  ready.change_time = this->At(5);
  ASSERT_TRUE(
      this->store_->Write([&](StoreTransaction& store) { return store.UpdateUpload(ready); }).ok());
  EXPECT_TRUE(this->Find("red", "models/a")->ready);
  EXPECT_EQ(this->Find("red", "models/a")->change_time, this->At(5));
  EXPECT_FALSE(this->Find("blue", "models/a")->ready);
}

TYPED_TEST_P(UploadConformance, ListsOneCollectionOfOneTenantInOrderOfName) {
  for (const char* name : {"models/c", "models/a", "models/b", "datasets/a"}) {
    ASSERT_TRUE(this->Insert(this->NewUpload("red", name, {"aa"})).ok());
  }
  ASSERT_TRUE(this->Insert(this->NewUpload("blue", "models/d", {"aa"})).ok());
  using Names = std::vector<std::string>;
  EXPECT_EQ(this->Names("red", "models/", "", 10), (Names{"models/a", "models/b", "models/c"}));
  EXPECT_EQ(this->Names("red", "models/", "models/a", 1), (Names{"models/b"}));
  EXPECT_EQ(this->Names("red", "datasets/", "", 10), (Names{"datasets/a"}));
}

TYPED_TEST_P(UploadConformance, AContentGoesWithTheLastUploadThatNamesIt) {
  ASSERT_TRUE(this->Insert(this->NewUpload("red", "models/a", {"aa", "bb"})).ok());
  ASSERT_TRUE(this->Insert(this->NewUpload("red", "models/b", {"bb", "cc"})).ok());
  ASSERT_TRUE(this->Insert(this->NewUpload("blue", "models/a", {"aa"})).ok());
  const auto bytes = [&](const std::string& tenant) {
    return ReadResult(*this->store_,
                      [&](StoreReader& store) { return store.UploadedBytes(tenant); })
        .value();
  };
  EXPECT_EQ(bytes("red"), 30) << "what is shared counts once";
  EXPECT_EQ(this->Delete("red", "models/a"), std::vector<std::string>{"aa"});
  EXPECT_EQ(bytes("red"), 20);
  EXPECT_EQ(bytes("blue"), 10);
  const absl::Status looked = this->store_->Read([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const auto gone, store.FindContent("red", "aa"));
    EXPECT_FALSE(gone.has_value());
    QD_ASSIGN_OR_RETURN(const auto shared, store.FindContent("red", "bb"));
    EXPECT_TRUE(shared.has_value());
    QD_ASSIGN_OR_RETURN(const bool of_blue, store.IsBlobOfContent("contents/blue/aa"));
    EXPECT_TRUE(of_blue);
    QD_ASSIGN_OR_RETURN(const bool of_red, store.IsBlobOfContent("contents/red/aa"));
    EXPECT_FALSE(of_red);
    return absl::OkStatus();
  });
  EXPECT_TRUE(looked.ok()) << looked;
  EXPECT_EQ(this->Delete("red", "models/b"), (std::vector<std::string>{"bb", "cc"}));
}

TYPED_TEST_P(UploadConformance, FindsWhatNobodyFinishes) {
  Upload ready = this->NewUpload("red", "models/ready", {"aa"});
  ready.ready = true;
  ASSERT_TRUE(this->Insert(ready).ok());
  ASSERT_TRUE(this->Insert(this->NewUpload("red", "models/old", {"aa"})).ok());
  const auto stale = [&](int64_t before) {
    return ReadResult(*this->store_,
                      [&](StoreReader& store) { return store.StaleUploads(this->At(before), 10); })
        .value();
  };
  EXPECT_TRUE(stale(2).empty());
  ASSERT_EQ(stale(3).size(), 1u);
  EXPECT_EQ(stale(3)[0].name, "models/old");
}

TYPED_TEST_P(UploadConformance, KnowsTheOpenJobThatUsesAnUpload) {
  ASSERT_TRUE(this->Insert(this->NewUpload("red", "models/a", {"aa"})).ok());
  this->Add(this->NewJob("job", 1));
  const auto user = [&] {
    return ReadResult(*this->store_,
                      [&](StoreReader& store) { return store.OpenJobUsing("red", "models/a"); })
        .value();
  };
  EXPECT_FALSE(user().has_value());
  const auto change = [&](JobState state) {
    return this->store_->Write([&](StoreTransaction& store) -> absl::Status {
      QD_ASSIGN_OR_RETURN(Job job, store.GetJob("job"));
      QD_RETURN_IF_ERROR(store.PutUploadUse("red", "models/a", job.number));
      job.state = state;
      return store.UpdateJob(job);
    });
  };
  ASSERT_TRUE(change(JobState::kRunning).ok());
  EXPECT_EQ(user(), "job");
  ASSERT_TRUE(change(JobState::kSucceeded).ok());
  EXPECT_FALSE(user().has_value());
}

REGISTER_TYPED_TEST_SUITE_P(UploadConformance, KeepsAnUploadAsItIsAndOneOfEachName,
                            ListsOneCollectionOfOneTenantInOrderOfName,
                            AContentGoesWithTheLastUploadThatNamesIt, FindsWhatNobodyFinishes,
                            KnowsTheOpenJobThatUsesAnUpload);

}  // namespace quantd
