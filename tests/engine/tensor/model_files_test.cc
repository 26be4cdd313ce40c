#include "engine/tensor/model_files.h"

#include <sys/stat.h>

#include <filesystem>
#include <functional>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/model_blobs.h"
#include "engine/tensor/model_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tensor/safetensors_file.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

// The same model in every place that models can lie in.
struct Place {
  std::string name;
  std::function<void(const TemporaryFolder&, const std::string& file, const std::string& text)> put;
  std::function<absl::StatusOr<std::shared_ptr<const ModelFiles>>(const TemporaryFolder&)> open;
};

std::shared_ptr<BlobStore> StoreIn(const TemporaryFolder& folder) {
  return *OpenBlobStore("file://" + folder.path() + "/blobs");
}

const Place kFolder = {
    "Folder",
    [](const TemporaryFolder& folder, const std::string& file, const std::string& text) {
      const std::string path = folder.path() + "/jobs/tiny/" + file;
      ASSERT_TRUE(MakeFolders(fs::path(path).parent_path()).ok());
      ASSERT_TRUE(WriteFileAtomic(path, text).ok());
    },
    [](const TemporaryFolder& folder) { return OpenModelFolder(folder.path() + "/jobs/tiny"); }};

const Place kFolderBelowRoots = {
    "FolderBelowRoots", kFolder.put, [](const TemporaryFolder& folder) {
      const std::string root = *RealPath(folder.path());
      return OpenModelFolder(folder.path() + "/jobs/tiny", {.roots = std::span(&root, 1)});
    }};

const Place kBlobs = {
    "Blobs",
    [](const TemporaryFolder& folder, const std::string& file, const std::string& text) {
      const std::string path = folder.path() + "/file";
      ASSERT_TRUE(WriteFileAtomic(path, text).ok());
      ASSERT_TRUE(StoreIn(folder)->PutFile("jobs/tiny/" + file, path).ok());
    },
    [](const TemporaryFolder& folder) {
      std::map<std::string, std::string, std::less<>> blobs;
      const std::vector<std::string> all = *StoreIn(folder)->List("jobs/tiny");
      for (const std::string& blob : all) {
        const std::string name = blob.substr(sizeof("jobs/tiny"));
        if (name.find('/') == std::string::npos) blobs[name] = blob;
      }
      return OpenModelBlobs(StoreIn(folder), "models/tiny", std::move(blobs));
    }};

class ModelFilesTest : public ::testing::TestWithParam<Place> {
 protected:
  void Put(const std::string& file, const std::string& text) {
    GetParam().put(folder_, file, text);
  }
  std::shared_ptr<const ModelFiles> Open() {
    auto files = GetParam().open(folder_);
    EXPECT_TRUE(files.ok()) << files.status();
    return files.ok() ? *files : nullptr;
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("model-files");
};

TEST_P(ModelFilesTest, ListsPlainFilesInOrder) {
  for (const char* file : {"b.json", "a.safetensors", "original/deep.bin"}) Put(file, "text");
  const auto files = Open();
  EXPECT_THAT(*files->List(), ElementsAre("a.safetensors", "b.json"));
  EXPECT_TRUE(files->Has("b.json"));
  EXPECT_FALSE(files->Has("c.json"));
}

TEST_P(ModelFilesTest, ReadsRangesCopiesAndDigests) {
  Put("a", "0123456789");
  const auto files = Open();
  const auto file = files->Open("a");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 10);
  std::string part(3, '\0');
  const auto bytes = std::as_writable_bytes(std::span(part.data(), part.size()));
  ASSERT_TRUE((*file)->Read(4, bytes).ok());
  EXPECT_EQ(part, "456");
  EXPECT_EQ(ReasonOf((*file)->Read(8, bytes)), Reason::kModelCorrupt);
  EXPECT_EQ(*files->ReadText("a", 10), "0123456789");
  EXPECT_EQ(ReasonOf(files->ReadText("a", 9).status()), Reason::kModelCorrupt);
  EXPECT_EQ(*files->Digest("a"), Sha256Hex("0123456789"));
  const auto copy = files->CopyTo("a", folder_.path() + "/copy");
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(copy->sha256, Sha256Hex("0123456789"));
  EXPECT_EQ(*ReadFile(folder_.path() + "/copy", 10), "0123456789");
}

TEST_P(ModelFilesTest, MissingFilesAndNamesThatLeadElsewhereAreRefused) {
  Put("a", "text");
  Put("original/deep.bin", "text");
  const auto files = Open();
  for (const std::string name :
       {"none", "", ".", "..", "../tiny/a", "original/deep.bin", "/etc/passwd", "no name"}) {
    const absl::Status status = files->Open(name).status();
    EXPECT_EQ(ReasonOf(status), Reason::kModelCorrupt) << name << ": " << status;
    EXPECT_FALSE(files->Has(name)) << name;
  }
  EXPECT_THAT(std::string(files->Open("none").status().message()),
              ::testing::HasSubstr(files->Where("none")));
}

TEST_P(ModelFilesTest, ACheckpointIsReadFromAnyPlace) {
  Put("model.safetensors",
      SafetensorsFile(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  const auto checkpoint = Checkpoint::Open(Open());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->Read("a")->bytes.data()[3], std::byte{3});
}

TEST_P(ModelFilesTest, NothingThereIsNoModel) {
  EXPECT_EQ(ReasonOf(GetParam().open(folder_).status()), Reason::kModelNotFound);
}

INSTANTIATE_TEST_SUITE_P(Places, ModelFilesTest,
                         ::testing::Values(kFolder, kFolderBelowRoots, kBlobs),
                         [](const auto& place) { return place.param.name; });

// A cache of a hub below the root: the model is a folder of links to blobs beside it. Outside of
// the root lies what nobody may read.
class ModelLinksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"root/hub/blobs", "root/hub/snapshots/1", "outside"}) {
      ASSERT_TRUE(MakeFolders(Path(folder)).ok());
    }
    ASSERT_TRUE(WriteFileAtomic(Path("root/hub/blobs/b1"), "inside").ok());
    ASSERT_TRUE(WriteFileAtomic(Path("outside/secret"), "secret").ok());
    Link("../../blobs/b1", "model.safetensors");
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void Link(const std::string& to, const std::string& name) const {
    const std::string link = Path("root/hub/snapshots/1/" + name);
    fs::remove(link);
    fs::create_symlink(to, link);
  }
  absl::StatusOr<std::shared_ptr<const ModelFiles>> Open() const {
    const std::string root = *RealPath(Path("root"));
    return OpenModelFolder(Path("root/hub/snapshots/1"), {.roots = std::span(&root, 1)});
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("model-links");
};

TEST_F(ModelLinksTest, LinksInsideTheRootAreFollowed) {
  Link(*RealPath(Path("root/hub/blobs/b1")), "absolute");
  const auto files = Open();
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*(*files)->ReadText("model.safetensors", 100), "inside");
  EXPECT_EQ(*(*files)->ReadText("absolute", 100), "inside");
}

TEST_F(ModelLinksTest, LinksOutOfTheRootAreRefusedAtOnce) {
  for (const std::string& to : {std::string("../../../../outside/secret"), Path("outside/secret"),
                                Path("outside/none"), std::string("/proc/self/environ")}) {
    Link(to, "LICENSE");
    EXPECT_EQ(ReasonOf(Open().status()), Reason::kModelOutsideRoots) << to;
  }
}

// The check at the beginning has been passed: what is opened later is looked at again.
TEST_F(ModelLinksTest, ALinkThatIsChangedAfterTheCheckLeadsNowhere) {
  const auto files = Open();
  ASSERT_TRUE(files.ok()) << files.status();
  Link("../../../../outside/secret", "model.safetensors");
  const absl::Status status = (*files)->Open("model.safetensors").status();
  EXPECT_EQ(ReasonOf(status), Reason::kModelOutsideRoots) << status;
  EXPECT_EQ(ReasonOf((*files)->ReadText("model.safetensors", 100).status()),
            Reason::kModelOutsideRoots);
}

TEST_F(ModelLinksTest, AFolderThatIsReplacedIsNotFollowed) {
  const auto files = Open();
  ASSERT_TRUE(files.ok()) << files.status();
  fs::rename(Path("root/hub/snapshots/1"), Path("root/hub/snapshots/0"));
  ASSERT_TRUE(WriteFileAtomic(Path("outside/model.safetensors"), "secret").ok());
  fs::create_symlink(Path("outside"), Path("root/hub/snapshots/1"));
  EXPECT_EQ(*(*files)->ReadText("model.safetensors", 100), "inside");
  EXPECT_EQ(ReasonOf(Open().status()), Reason::kModelOutsideRoots);
}

TEST_F(ModelLinksTest, PipesAreRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo(Path("root/hub/snapshots/1/pipe").c_str(), 0600), 0);
  const auto files = Open();
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(ReasonOf((*files)->Open("pipe").status()), Reason::kModelCorrupt);
}

TEST_F(ModelLinksTest, WithoutRootsLinksLeadAnywhere) {
  Link(Path("outside/secret"), "model.safetensors");
  const auto files = OpenModelFolder(Path("root/hub/snapshots/1"));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*(*files)->ReadText("model.safetensors", 100), "secret");
}

}  // namespace
}  // namespace quantd
