#include "engine/tensor/model_blobs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"

namespace quantd {
namespace {

class ModelBlobs : public ModelFiles {
 public:
  ModelBlobs(std::shared_ptr<const BlobStore> store, std::string prefix)
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  const std::string& location() const override { return prefix_; }

  absl::StatusOr<std::vector<std::string>> List() const override {
    QD_ASSIGN_OR_RETURN(const std::vector<std::string> blobs, store_->List(prefix_));
    std::vector<std::string> names;
    for (const std::string& blob : blobs) {
      std::string name = blob.substr(prefix_.size() + 1);
      if (name.find('/') == std::string::npos) names.push_back(std::move(name));
    }
    return names;
  }

  bool Has(std::string_view name) const override {
    const auto names = List();
    return names.ok() && std::find(names->begin(), names->end(), name) != names->end();
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckName(name));
    auto file = store_->Open(Where(name));
    const bool absent =
        !file.ok() && (ReasonOf(file.status()) == Reason::kArtifactNotFound ||
                       ReasonOf(file.status()) == Reason::kInvalidField);  // no name of a blob
    return absent ? NoSuchFile(name) : std::move(file);
  }

 private:
  const std::shared_ptr<const BlobStore> store_;
  const std::string prefix_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelBlobs(
    std::shared_ptr<const BlobStore> store, const std::string& prefix) {
  QD_RETURN_IF_ERROR(CheckBlobName(prefix));
  auto files = std::make_shared<const ModelBlobs>(std::move(store), prefix);
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List());
  if (!names.empty()) return files;
  return MakeError(
      Reason::kModelNotFound, "cannot open the model",
      Violation{.where = prefix, .got = "no blobs", .wanted = "the prefix of a model's blobs"});
}

}  // namespace quantd
