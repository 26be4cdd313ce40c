#include "engine/rotated_source/rotated_model.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/model/registry.h"
#include "engine/model/residual_stream.h"
#include "engine/rotated_source/rotated_weights.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/config_json.h"
#include "engine/tensor/shown_file.h"

namespace quantd {
namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.json";
constexpr int64_t kMaxConfigBytes = 16 << 20;

bool IsWeights(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

class RotatedModel : public ModelFiles {
 public:
  struct Contents {
    std::string config;
    std::string identity;
    std::shared_ptr<const ShownTensors> weights;
  };

  RotatedModel(std::shared_ptr<const ModelFiles> files, Contents contents)
      : files_(std::move(files)), contents_(std::move(contents)) {}

  const std::string& location() const override { return files_->location(); }
  std::optional<StoredWeights> stored() const override { return files_->stored(); }
  std::optional<std::string> identity() const override { return contents_.identity; }

  absl::StatusOr<std::vector<std::string>> List() const override {
    QD_ASSIGN_OR_RETURN(const std::vector<std::string> all, files_->List());
    std::vector<std::string> names;
    for (const std::string& name : all) {
      if (!IsWeights(name)) names.push_back(name);
    }
    names.emplace_back(kWeights);
    std::sort(names.begin(), names.end());
    return names;
  }

  bool Has(std::string_view name) const override {
    return name == kWeights || (!IsWeights(name) && files_->Has(name));
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckName(name));
    if (name == kWeights) return quantd::Open(contents_.weights);
    if (name == kConfig) return ShowText(Where(name), contents_.config);
    if (IsWeights(name)) return NoSuchFile(name);
    return files_->Open(name);
  }

 private:
  const std::shared_ptr<const ModelFiles> files_;
  const Contents contents_;
};

// The weights are floats now, and the output projection is a tensor of its own.
absl::StatusOr<std::string> RotatedConfig(const ModelFiles& files) {
  QD_ASSIGN_OR_RETURN(const std::string text, files.ReadText(kConfig, kMaxConfigBytes));
  QD_ASSIGN_OR_RETURN(Json config, ParseConfigJson(text, files.Where(kConfig)));
  config.erase("quantization_config");
  config["tie_word_embeddings"] = false;
  const auto language = config.find("text_config");
  if (language != config.end() && language->is_object()) {
    (*language)["tie_word_embeddings"] = false;
  }
  return DumpJsonPretty(config);
}

}  // namespace

RotationRule HadamardRule(uint64_t seed) {
  return {.name = absl::StrCat("hadamard ", seed),
          .make = [seed](int64_t width) { return Rotation::Hadamard(width, seed); }};
}

absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowRotated(
    std::shared_ptr<const ModelFiles> files, const RotationRule& rule) {
  QD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(files));
  QD_ASSIGN_OR_RETURN(const ModelSpec model, ReadModelSpec(*files, checkpoint));
  QD_RETURN_IF_ERROR(CheckRotatable(model));
  QD_ASSIGN_OR_RETURN(Rotation rotation, rule.make(model.hidden));
  RotatedModel::Contents contents;
  QD_ASSIGN_OR_RETURN(contents.config, RotatedConfig(*files));
  QD_ASSIGN_OR_RETURN(const std::string inner, checkpoint.Fingerprint());
  contents.identity = Sha256Hex(absl::StrCat("quantd rotated model 1\n", rule.name, "\n", inner));
  QD_ASSIGN_OR_RETURN(const auto weights,
                      RotatedWeights::Create(std::move(checkpoint), model, std::move(rotation)));
  QD_ASSIGN_OR_RETURN(
      contents.weights,
      ShownTensors::Create(files->Where(kWeights), weights->Infos(),
                           [weights](size_t index, int64_t begin, std::span<std::byte> out) {
                             return weights->Read(index, begin, out);
                           }));
  return std::make_shared<const RotatedModel>(std::move(files), std::move(contents));
}

}  // namespace quantd
