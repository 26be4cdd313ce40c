#include "engine/convert/converted_folder.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/types/model_title.h"

namespace quantd {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;

// Files that speak of the layout that is left behind, or that are written anew.
constexpr std::array<std::string_view, 5> kLeftBehind = {
    "config.json", "model.safetensors.index.json", "quantize_config.json", "quant_config.json",
    "quant_log.csv"};
constexpr std::array<std::string_view, 4> kCarriedOver = {"*.json", "*.txt", "*.model", "*.jinja"};

bool IsCarriedOver(const std::string& name) {
  if (std::find(kLeftBehind.begin(), kLeftBehind.end(), name) != kLeftBehind.end()) return false;
  if (name.starts_with("LICENSE") || name.starts_with("NOTICE")) return true;
  return std::any_of(kCarriedOver.begin(), kCarriedOver.end(),
                     [&](std::string_view glob) { return GlobMatches(glob, name); });
}

absl::Status WriteIndex(const ConvertedModel& model) {
  if (model.files.size() < 2) return absl::OkStatus();
  int64_t total = 0;
  Json weight_map = Json::object();
  auto& entries = weight_map.get_ref<Json::object_t&>();
  for (const ConvertedFile& file : model.files) {
    for (const TensorInfo& tensor : file.tensors) {
      entries.push_back({tensor.name, file.name});
      total += tensor.bytes();
    }
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(weight_map)}};
  return WriteFileAtomic(model.output + "/model.safetensors.index.json", DumpJsonPretty(index))
      .status();
}

// The README.md: what it was converted from, and what the source says of itself.
std::string Card(const ConvertedModel& model) {
  const std::string name = ModelTitle(model.source.location());
  const auto method = [](const Json& quantization) {
    return quantization.is_object() ? quantization.value("quant_method", "") : std::string();
  };
  const auto before = model.config.find("quantization_config");
  const std::string from = before == model.config.end() ? "" : method(*before);
  const std::string to = method(model.quantization);
  return absl::StrCat(
      "---\nbase_model: ", name, "\nlibrary_name: transformers\ntags:\n- quantd\n- ", to,
      "\n---\n\n# ", name, ", as ", to, "\n\nConverted by quantd ", QUANTD_VERSION, " from `", name,
      "`", from.empty() ? "" : absl::StrCat(", which is stored as `", from, "`"),
      ". Every weight is the same number as there: codes, scales and zero points were laid out "
      "anew, nothing was quantized again, so its accuracy is that of the source.\n");
}

}  // namespace

void ConvertedFile::AddCopy(const FolderTensor& tensor) {
  copies.emplace_back(tensors.size(), &tensor);
  tensors.push_back(tensor.info);
}

void ConvertedFile::AddLinear(const ResolvedLinear& resolved, std::vector<TensorInfo> parts) {
  linears.emplace_back(tensors.size(), &resolved);
  for (TensorInfo& part : parts) {
    part.name = resolved.linear->name + "." + part.name;
    tensors.push_back(std::move(part));
  }
}

std::string ConvertedFileName(size_t file, size_t files) {
  if (files == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", file + 1, files);
}

absl::Status CopyTensor(const TensorFolder& folder, const FolderTensor& tensor, size_t index,
                        TensorFile& writer) {
  const int64_t bytes = tensor.info.bytes();
  AlignedBuffer<std::byte> piece(std::min(bytes, kPieceBytes));
  for (int64_t done = 0; done < bytes; done += kPieceBytes) {
    const auto part = piece.span().first(static_cast<size_t>(std::min(kPieceBytes, bytes - done)));
    QD_RETURN_IF_ERROR(folder.Read(tensor, done, part));
    QD_RETURN_IF_ERROR(writer.Write(index, done, part));
  }
  return absl::OkStatus();
}

absl::Status WriteModelFiles(const ConvertedModel& model) {
  QD_RETURN_IF_ERROR(WriteIndex(model));
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, model.source.List());
  for (const std::string& name : names) {
    if (!IsCarriedOver(name)) continue;
    QD_RETURN_IF_ERROR(model.source.CopyTo(name, model.output + "/" + name).status());
  }
  if (model.quantization.value("quant_method", "") == "gptq") {
    QD_RETURN_IF_ERROR(
        WriteFileAtomic(model.output + "/quantize_config.json", DumpJsonPretty(model.quantization))
            .status());
  }
  QD_RETURN_IF_ERROR(WriteFileAtomic(model.output + "/README.md", Card(model)).status());
  Json config = model.config;
  config.erase("compression_config");
  config["quantization_config"] = model.quantization;
  return WriteFileAtomic(model.output + "/config.json", DumpJsonPretty(config)).status();
}

}  // namespace quantd
