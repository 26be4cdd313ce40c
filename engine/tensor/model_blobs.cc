#include "engine/tensor/model_blobs.h"

#include <utility>
#include <vector>

#include "base/error.h"

namespace quantd {
namespace {

using Blobs = std::map<std::string, std::string, std::less<>>;

class ModelBlobs : public ModelFiles {
 public:
  ModelBlobs(std::shared_ptr<const BlobStore> store, std::string location, Blobs blobs)
      : store_(std::move(store)), location_(std::move(location)), blobs_(std::move(blobs)) {}

  const std::string& location() const override { return location_; }

  absl::StatusOr<std::vector<std::string>> List() const override {
    std::vector<std::string> names;
    for (const auto& [name, blob] : blobs_) names.push_back(name);
    return names;
  }

  bool Has(std::string_view name) const override { return blobs_.contains(name); }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckName(name));
    const auto found = blobs_.find(name);
    if (found == blobs_.end()) return NoSuchFile(name);
    auto file = store_->Open(found->second);
    return ReasonOf(file.status()) == Reason::kArtifactNotFound ? NoSuchFile(name)
                                                                : std::move(file);
  }

 private:
  const std::shared_ptr<const BlobStore> store_;
  const std::string location_;
  const Blobs blobs_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelBlobs(
    std::shared_ptr<const BlobStore> store, std::string location,
    std::map<std::string, std::string, std::less<>> blobs) {
  if (blobs.empty()) {
    return MakeError(Reason::kModelNotFound, "cannot open the model",
                     Violation{.where = location, .got = "no blobs", .wanted = "a model's blobs"});
  }
  return std::make_shared<const ModelBlobs>(std::move(store), std::move(location),
                                            std::move(blobs));
}

}  // namespace quantd
