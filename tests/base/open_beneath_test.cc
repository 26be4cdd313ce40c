#include "base/open_beneath.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

// With the kernel's own check, and with ours for kernels that have none.
class OpenBeneathTest : public testing::TestWithParam<bool> {
 protected:
  OpenBeneathTest() {
    EXPECT_TRUE(MakeFolders(Path("root/hub/blobs")).ok());
    EXPECT_TRUE(MakeFolders(Path("root/hub/snapshot")).ok());
    EXPECT_TRUE(MakeFolders(Path("outside")).ok());
    Write("root/hub/blobs/weights", "inside");
    Write("outside/secret", "secret");
  }
  std::string Path(const std::string& name) const { return base_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(WriteFileAtomic(Path(name), text).ok());
  }
  void Link(const std::string& target, const std::string& name) const {
    fs::create_symlink(target, Path(name));
  }
  absl::StatusOr<Descriptor> Open(const std::string& path) const {
    return OpenBeneath(Path("root"), path, {.ask_kernel = GetParam()});
  }
  static std::string Content(const Descriptor& file) {
    char buffer[64] = {};
    const ssize_t got = pread(file.get(), buffer, sizeof buffer, 0);
    return got < 0 ? "" : std::string(buffer, static_cast<size_t>(got));
  }
  std::string Text(const std::string& path) const {
    const auto file = Open(path);
    return file.ok() ? Content(*file) : std::string(RowOf(*ReasonOf(file.status())).name);
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("beneath");
  std::string base_ = *RealPath(folder_.path());
};

TEST_P(OpenBeneathTest, OpensWhatLiesBelow) {
  EXPECT_EQ(Text("hub/blobs/weights"), "inside");
  EXPECT_EQ(Text(Path("root/hub/blobs/weights")), "inside");
  EXPECT_EQ(Text("./hub/snapshot/../blobs//weights"), "inside");
  EXPECT_TRUE(Open("").ok());
  EXPECT_TRUE(Open("hub/snapshot/").ok());
}

TEST_P(OpenBeneathTest, FollowsLinksThatStay) {
  Link("../blobs/weights", "root/hub/snapshot/model.safetensors");
  Link("hub", "root/alias");
  Link(Path("root/hub/blobs/weights"), "root/absolute");
  EXPECT_EQ(Text("hub/snapshot/model.safetensors"), "inside");
  EXPECT_EQ(Text("alias/snapshot/model.safetensors"), "inside");
  EXPECT_EQ(Text("absolute"), "inside");
}

TEST_P(OpenBeneathTest, RefusesEveryWayOut) {
  Link("../../outside/secret", "root/hub/relative");
  Link(Path("outside/secret"), "root/absolute");
  Link("../outside", "root/folder");
  Link(Path("root/../outside/secret"), "root/sly");
  Link("/proc/self/fd/0", "root/magic");
  for (const std::string path :
       {"../outside/secret", "hub/../../outside/secret", "hub/relative", "absolute",
        "folder/secret", "sly", "magic", "/etc/passwd", ".."}) {
    EXPECT_EQ(Text(path), "MODEL_OUTSIDE_ROOTS") << path;
  }
  EXPECT_EQ(Text(Path("root-beside/x")), "MODEL_OUTSIDE_ROOTS");
}

TEST_P(OpenBeneathTest, RefusesWhatIsNoFile) {
  ASSERT_EQ(mkfifo(Path("root/pipe").c_str(), 0600), 0);
  EXPECT_EQ(Text("pipe"), "MODEL_OUTSIDE_ROOTS");
  EXPECT_EQ(Text("nothing"), "IO_ERROR");
  EXPECT_EQ(Text("hub/blobs/weights/below"), "IO_ERROR");
  Link("loop", "root/loop");
  EXPECT_EQ(Text("loop"), "IO_ERROR");
}

// A link that changes between check and use: whatever is opened, it is never the secret.
TEST_P(OpenBeneathTest, ALinkThatChangesAllTheTimeNeverLeadsOut) {
  Link("hub/blobs/weights", "root/good");
  Link("../outside/secret", "root/bad");
  Link("hub/blobs/weights", "root/model");
  std::atomic<bool> done{false};
  std::thread attacker([&] {
    for (int i = 0; !done; ++i) {
      const std::string next = Path("root/next");
      fs::create_symlink(i % 2 == 0 ? "../outside/secret" : "hub/blobs/weights", next);
      std::rename(next.c_str(), Path("root/model").c_str());
    }
  });
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto file = Open("model");
    if (!file.ok()) continue;
    ++opened;
    EXPECT_EQ(Content(*file), "inside");
  }
  done = true;
  attacker.join();
  EXPECT_GT(opened, 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, OpenBeneathTest, testing::Bool(), [](const auto& info) {
  return info.param ? "AskingTheKernel" : "StepByStep";
});

TEST(OpenAllowedTest, TakesTheRootThatTheLinksLeadTo) {
  const auto folder = *TemporaryFolder::Create("allowed");
  const std::string base = *RealPath(folder.path());
  for (const char* name : {"/models/m", "/blobs", "/outside"}) {
    ASSERT_TRUE(MakeFolders(base + name).ok());
  }
  ASSERT_TRUE(WriteFileAtomic(base + "/blobs/w", "x").ok());
  ASSERT_TRUE(WriteFileAtomic(base + "/outside/s", "x").ok());
  fs::create_symlink(base + "/blobs/w", base + "/models/m/w");
  const std::vector<std::string> one = {base + "/models"};
  const std::vector<std::string> both = {base + "/models", base + "/blobs"};
  EXPECT_TRUE(OpenAllowed(both, base + "/models/m/w").ok());
  EXPECT_EQ(ReasonOf(OpenAllowed(one, base + "/models/m/w").status()), Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(OpenAllowed(one, base + "/outside/s").status()), Reason::kModelOutsideRoots);
  EXPECT_EQ(ReasonOf(OpenAllowed(one, base + "/outside/none").status()),
            Reason::kModelOutsideRoots);
}

}  // namespace
}  // namespace quantd
