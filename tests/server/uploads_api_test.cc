// Uploads over the wire: what is sent, gone on with, refused, shared, used by jobs, removed.
#include <gmock/gmock.h>

#include "tests/server/running_server.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Stub = v1::QuantizationService::Stub;

class UploadsApiTest : public RunningServerTest {
 protected:
  absl::StatusOr<v1::Upload> CreateOf(
      const std::string& name, const std::vector<std::pair<std::string, std::string>>& files) {
    v1::CreateUploadRequest request;
    request.mutable_upload()->set_name(name);
    for (const auto& [path, text] : files) {
      v1::UploadFile* file = request.mutable_upload()->add_files();
      file->set_path(path);
      file->set_bytes(static_cast<int64_t>(text.size()));
      file->set_sha256(Sha256Hex(text));
    }
    return User(&Stub::CreateUpload, request);
  }
  absl::StatusOr<v1::Upload> GetOf(const std::string& name) {
    v1::GetUploadRequest request;
    request.set_name(name);
    return User(&Stub::GetUpload, request);
  }
  absl::StatusOr<v1::Upload> Commit(const std::string& name) {
    v1::CommitUploadRequest request;
    request.set_name(name);
    return User(&Stub::CommitUpload, request);
  }
  absl::Status DeleteOf(const std::string& name) {
    v1::DeleteUploadRequest request;
    request.set_name(name);
    return User(&Stub::DeleteUpload, request).status();
  }
  // Sends `data` in pieces of at most `piece` bytes, from `offset` on.
  absl::StatusOr<v1::UploadFile> Write(const std::string& name, const std::string& path,
                                       int64_t offset, const std::string& data,
                                       size_t piece = 1 << 20) {
    grpc::ClientContext context;
    SetDeadline(context);
    v1::WriteUploadFileResponse response;
    const auto writer = users_->WriteUploadFile(&context, &response);
    size_t at = 0;
    do {
      v1::WriteUploadFileRequest message;
      if (at == 0) {
        message.set_name(name);
        message.set_path(path);
      }
      message.set_offset(offset + static_cast<int64_t>(at));
      message.set_data(data.substr(at, piece));
      message.set_crc32c(Crc32c(message.data()));
      if (!writer->Write(message)) break;
      at += piece;
    } while (at < data.size());
    writer->WritesDone();
    QD_RETURN_IF_ERROR(FromGrpc(writer->Finish()));
    return response.file();
  }
  absl::Status Push(const std::string& name,
                    const std::vector<std::pair<std::string, std::string>>& files) {
    QD_ASSIGN_OR_RETURN(const v1::Upload upload, CreateOf(name, files));
    for (const auto& [path, text] : files) {
      for (const v1::UploadFile& file : upload.files()) {
        if (file.path() == path && !file.complete()) {
          QD_RETURN_IF_ERROR(Write(name, path, 0, text).status());
        }
      }
    }
    return Commit(name).status();
  }
  // The bundled model, as it lies on the disk.
  static std::vector<std::pair<std::string, std::string>> BundledModel() {
    std::vector<std::pair<std::string, std::string>> files;
    const std::vector<std::string> names = *ListFolder(ModelFolder());
    for (const std::string& name : names) {
      const auto text = ReadFile(ModelFolder() + "/" + name, int64_t{1} << 30);
      EXPECT_TRUE(text.ok()) << text.status();
      files.emplace_back(name, *text);
    }
    return files;
  }
  std::vector<std::string> Blobs() {
    return *(*OpenBlobStore("file://" + options_.data + "/blobs"))->List("contents");
  }
};

TEST_F(UploadsApiTest, AFileIsSentInPiecesAndGoneOnWith) {
  const std::string text = "0123456789";
  const auto made = CreateOf("models/a", {{"config.json", text}});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->state(), v1::Upload::UPLOADING);
  EXPECT_EQ(made->bytes(), 10);
  EXPECT_EQ(made->files(0).committed_size(), 0);
  EXPECT_EQ(ReasonOf(Commit("models/a").status()), Reason::kWrongState);

  const auto part = Write("models/a", "config.json", 0, text.substr(0, 6), 4);
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(part->committed_size(), 6);
  EXPECT_FALSE(part->complete());
  StartServer();  // as after a crash
  EXPECT_EQ(GetOf("models/a")->files(0).committed_size(), 6);
  const absl::Status gap = Write("models/a", "config.json", 7, text.substr(7)).status();
  EXPECT_EQ(ReasonOf(gap), Reason::kWrongState);
  EXPECT_THAT(std::string(gap.message()), HasSubstr("wanted 6"));
  const auto rest = Write("models/a", "config.json", 6, text.substr(6));
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_TRUE(rest->complete());
  const auto committed = Commit("models/a");
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(committed->state(), v1::Upload::READY);
}

TEST_F(UploadsApiTest, WhatIsNotWhatItsDigestSaysBeginsAnew) {
  ASSERT_TRUE(CreateOf("models/a", {{"f", "right"}}).ok());
  const absl::Status wrong = Write("models/a", "f", 0, "wrong").status();
  EXPECT_EQ(ReasonOf(wrong), Reason::kUploadCorrupt) << wrong;
  EXPECT_EQ(GetOf("models/a")->files(0).committed_size(), 0);
  EXPECT_TRUE(Write("models/a", "f", 0, "right")->complete());
}

TEST_F(UploadsApiTest, ADamagedOrTooLongPieceIsRefusedAndNotKept) {
  ASSERT_TRUE(CreateOf("models/a", {{"f", "right"}}).ok());
  EXPECT_EQ(ReasonOf(Write("models/a", "f", 0, "too long").status()), Reason::kInvalidField);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::WriteUploadFileResponse response;
  const auto writer = users_->WriteUploadFile(&context, &response);
  v1::WriteUploadFileRequest message;
  message.set_name("models/a");
  message.set_path("f");
  message.set_data("rig");
  message.set_crc32c(Crc32c(message.data()) ^ 1);
  EXPECT_TRUE(writer->Write(message));
  writer->WritesDone();
  EXPECT_EQ(ReasonOf(FromGrpc(writer->Finish())), Reason::kUnavailable);
  EXPECT_EQ(GetOf("models/a")->files(0).committed_size(), 0);
}

TEST_F(UploadsApiTest, WhatTheTenantHasIsNotSentTwice) {
  ASSERT_TRUE(Push("models/a", {{"f", "shared"}, {"g", "own"}}).ok());
  const auto second = CreateOf("models/b", {{"h", "shared"}});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->files(0).complete());
  ASSERT_TRUE(Commit("models/b").ok());
  EXPECT_THAT(Blobs(), SizeIs(2));
  ASSERT_TRUE(DeleteOf("models/a").ok());
  EXPECT_THAT(Blobs(), SizeIs(1)) << "what models/b holds stays";
  ASSERT_TRUE(DeleteOf("models/b").ok());
  EXPECT_THAT(Blobs(), IsEmpty());
  EXPECT_EQ(ReasonOf(GetOf("models/b").status()), Reason::kUploadNotFound);
}

TEST_F(UploadsApiTest, TheSameAgainIsTheSameAndOtherFilesNeedAnotherName) {
  ASSERT_TRUE(Push("models/a", {{"f", "one"}}).ok());
  const auto again = CreateOf("models/a", {{"f", "one"}});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->state(), v1::Upload::READY);
  EXPECT_EQ(ReasonOf(CreateOf("models/a", {{"f", "two"}}).status()), Reason::kAlreadyExists);
}

TEST_F(UploadsApiTest, NamesAndFilesThatCannotBeAreRefused) {
  using Files = std::vector<std::pair<std::string, std::string>>;
  const std::pair<std::string, Files> refused[] = {{"models/A", {{"f", "x"}}},
                                                   {"models/", {{"f", "x"}}},
                                                   {"models/../a", {{"f", "x"}}},
                                                   {"jobs/a", {{"f", "x"}}},
                                                   {"models/a", {}},
                                                   {"models/a", {{"../f", "x"}}},
                                                   {"models/a", {{"a/b", "x"}}},
                                                   {"models/a", {{"", "x"}}},
                                                   {"models/a", {{"..", "x"}}},
                                                   {"models/a", {{"f", "x"}, {"f", "y"}}},
                                                   {"datasets/a", {{"f", "x"}, {"g", "y"}}}};
  for (const auto& [name, files] : refused) {
    EXPECT_EQ(ReasonOf(CreateOf(name, files).status()), Reason::kInvalidField) << name;
  }
}

TEST_F(UploadsApiTest, ATenantsRoomIsBounded) {
  options_.limits.upload_bytes = 5;
  StartServer();
  ASSERT_TRUE(Push("models/a", {{"f", "12345"}}).ok());
  const absl::Status full = CreateOf("models/b", {{"f", "6"}}).status();
  EXPECT_EQ(ReasonOf(full), Reason::kQuotaExceeded) << full;
  EXPECT_EQ(ReasonOf(GetOf("models/b").status()), Reason::kUploadNotFound) << "nothing was made";
  ASSERT_TRUE(DeleteOf("models/a").ok());
  EXPECT_TRUE(Push("models/b", {{"f", "6"}}).ok());
}

TEST_F(UploadsApiTest, AnUnfinishedUploadIsRemovedSomeDay) {
  options_.limits.upload_expiry = absl::Milliseconds(1);
  StartServer();
  ASSERT_TRUE(CreateOf("models/a", {{"f", "never sent"}}).ok());
  while (GetOf("models/a").ok()) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(ReasonOf(GetOf("models/a").status()), Reason::kUploadNotFound);
}

TEST_F(UploadsApiTest, AJobUsesAnUploadedModelAndText) {
  ASSERT_TRUE(Push("models/books", BundledModel()).ok());
  ASSERT_TRUE(Push("datasets/words", {{"words.txt", std::string(20000, 'a')}}).ok());
  v1::CreateJobRequest request = NewJob();
  v1::JobSpec* spec = request.mutable_job()->mutable_spec();
  spec->mutable_model()->set_uploaded("models/books");
  spec->mutable_evaluation()->Clear();
  spec->mutable_evaluation()->mutable_dataset()->set_uploaded("datasets/words");
  const auto job = Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->model(), "models/books");
  EXPECT_EQ(job->plan().family(), Create(NewJob())->plan().family());
  EXPECT_EQ(ReasonOf(DeleteOf("models/books")), Reason::kWrongState);
  EXPECT_EQ(ReasonOf(DeleteOf("datasets/words")), Reason::kWrongState);

  const v1::TaskAssignment task = Take();
  ASSERT_EQ(task.inputs_size(), 2);
  EXPECT_EQ(task.inputs(0).name(), "models/books");
  EXPECT_EQ(task.inputs(1).name(), "datasets/words");
  ASSERT_EQ(task.inputs(1).files_size(), 1);
  const auto blobs = OpenBlobStore("file://" + options_.data + "/blobs");
  const auto blob = (*blobs)->Open(task.inputs(1).files(0).blob());
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ((*blob)->size(), 20000);
  ASSERT_TRUE(Cancel(job->name()).ok());
  ASSERT_TRUE(Synchronize(Report(task, v1::TaskReport::CANCELLED)).ok());
  EXPECT_TRUE(DeleteOf("models/books").ok());
}

TEST_F(UploadsApiTest, AJobNeedsAnUploadThatIsThereAndComplete) {
  v1::CreateJobRequest request = NewJob();
  request.mutable_job()->mutable_spec()->mutable_model()->set_uploaded("models/none");
  const absl::Status none = Create(request).status();
  EXPECT_EQ(ReasonOf(none), Reason::kUploadNotFound);
  EXPECT_THAT(std::string(none.message()), HasSubstr("job.spec.model.uploaded"));
  ASSERT_TRUE(CreateOf("models/half", {{"config.json", "{}"}}).ok());
  request.mutable_job()->mutable_spec()->mutable_model()->set_uploaded("models/half");
  EXPECT_EQ(ReasonOf(Create(request).status()), Reason::kWrongState);
}

}  // namespace
}  // namespace quantd
