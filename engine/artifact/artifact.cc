#include "engine/artifact/artifact.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/partial_files.h"
#include "engine/artifact/model_card.h"
#include "engine/plan/side_files.h"
#include "engine/report_page/report_page.h"
#include "engine/tensor/config_json.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;

// The output projection that is written is the model's own: both levels of the config must say so.
void Untie(Json& config) {
  config["tie_word_embeddings"] = false;
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object()) (*text)["tie_word_embeddings"] = false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactWriter>> ArtifactWriter::Create(
    const PlannedQuantization& planned, ThreadPool& pool, ProgressSink& sink) {
  std::unique_ptr<ArtifactWriter> artifact(new ArtifactWriter(planned, pool, sink));
  QD_RETURN_IF_ERROR(MakeFolders(artifact->PathOf("quantd")));
  QD_RETURN_IF_ERROR(RemoveDeadPartials(planned.request.output_folder));
  QD_RETURN_IF_ERROR(RemoveDeadPartials(artifact->PathOf("quantd")));
  artifact->shards_.resize(planned.plan.shards.size());
  for (size_t shard = 0; shard < planned.plan.shards.size(); ++shard) {
    const auto& tensors = planned.plan.shards[shard].tensors;
    for (size_t index = 0; index < tensors.size(); ++index) {
      artifact->places_[tensors[index].name] = {
          .shard = shard, .index = index, .bytes_left = tensors[index].bytes()};
      artifact->shards_[shard].bytes_left += tensors[index].bytes();
    }
  }
  return artifact;
}

std::string ArtifactWriter::PathOf(std::string_view relative) const {
  return absl::StrCat(planned_.request.output_folder, "/", ToAbsl(relative));
}

int64_t ArtifactWriter::bytes_written() const {
  const std::lock_guard lock(mutex_);
  return bytes_written_;
}

absl::StatusOr<TensorFile*> ArtifactWriter::WriterOf(size_t shard) {
  const std::lock_guard lock(mutex_);
  OpenShard& open = shards_[shard];
  if (open.writer == nullptr) {
    const PlannedShard& planned = planned_.plan.shards[shard];
    const Durability durability =
        planned_.request.output.sync ? Durability::kSync : Durability::kNamed;
    if (!planned_.plan.files.empty()) {
      QD_ASSIGN_OR_RETURN(open.writer, OpenContainer(planned_.plan.files[shard], durability));
    } else {
      QD_ASSIGN_OR_RETURN(open.writer,
                          ShardWriter::Create(PathOf(planned.file), planned.tensors, durability));
    }
  }
  return open.writer.get();
}

absl::StatusOr<std::unique_ptr<TensorFile>> ArtifactWriter::OpenContainer(const LaidOutFile& file,
                                                                          Durability durability) {
  QD_ASSIGN_OR_RETURN(auto writer, TensorFile::Create(PathOf(file.name), file.header, file.places,
                                                      file.size, durability));
  const size_t first = file.places.size() - file.constants.size();
  for (size_t i = 0; i < file.constants.size(); ++i) {
    QD_RETURN_IF_ERROR(writer->Write(first + i, 0, file.constants[i]));
  }
  return writer;
}

const TensorInfo* ArtifactWriter::Planned(std::string_view name) const {
  const auto place = places_.find(name);
  if (place == places_.end()) return nullptr;
  return &planned_.plan.shards[place->second.shard].tensors[place->second.index];
}

absl::Status ArtifactWriter::Write(std::string_view name, int64_t offset,
                                   std::span<const std::byte> bytes) {
  const auto place = places_.find(name);
  if (place == places_.end()) {
    return MakeError(Reason::kInternal, "a tensor that was not planned",
                     Violation{.where = std::string(name), .got = "", .wanted = ""});
  }
  const size_t shard = place->second.shard;
  QD_ASSIGN_OR_RETURN(TensorFile * writer, WriterOf(shard));
  QD_RETURN_IF_ERROR(writer->Write(place->second.index, offset, bytes));
  std::unique_ptr<TensorFile> complete;
  {
    const std::lock_guard lock(mutex_);
    bytes_written_ += static_cast<int64_t>(bytes.size());
    place->second.bytes_left -= static_cast<int64_t>(bytes.size());
    shards_[shard].bytes_left -= static_cast<int64_t>(bytes.size());
    if (shards_[shard].bytes_left == 0) complete = std::move(shards_[shard].writer);
  }
  if (complete == nullptr) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(SealedFile sealed, complete->Seal());
  sealed.path = planned_.plan.shards[shard].file;
  return AddFile(std::move(sealed));
}

absl::Status ArtifactWriter::CopyRest(const Checkpoint& checkpoint) {
  std::vector<std::string> missing;
  for (const auto& [name, place] : places_) {
    if (place.bytes_left > 0 && checkpoint.Find(name) != nullptr) missing.push_back(name);
  }
  for (const std::string& name : missing) {
    QD_RETURN_IF_ERROR(Copy(checkpoint, name, Content::kAny));
  }
  return absl::OkStatus();
}

absl::Status ArtifactWriter::AddFile(SealedFile file) {
  const std::lock_guard lock(mutex_);
  files_.push_back(file);
  sink_.OnFile(file);
  return absl::OkStatus();
}

absl::Status ArtifactWriter::WriteText(const std::string& path, std::string_view text) {
  QD_ASSIGN_OR_RETURN(SealedFile sealed, WriteFileAtomic(PathOf(path), text));
  sealed.path = path;
  return AddFile(std::move(sealed));
}

absl::Status ArtifactWriter::WriteConfiguration() {
  const Plan& plan = planned_.plan;
  if (plan.shards.size() > 1) {
    // Appended, not looked up: names are unique, and a look-up in an ordered object walks all of
    // it.
    Json weight_map = Json::object();
    auto& entries = weight_map.get_ref<Json::object_t&>();
    for (const auto& [name, place] : places_) {
      entries.push_back({name, plan.shards[place.shard].file});
    }
    const Json index = {{"metadata", {{"total_size", plan.bytes_quantized}}},
                        {"weight_map", std::move(weight_map)}};
    QD_RETURN_IF_ERROR(WriteText("model.safetensors.index.json", DumpJsonPretty(index)));
  }
  QD_ASSIGN_OR_RETURN(const std::string text,
                      planned_.files->ReadText("config.json", kMaxConfigBytes));
  QD_ASSIGN_OR_RETURN(Json config, ParseConfigJson(text, "config.json"));
  if (!planned_.checkpoint.stored_as().empty()) {  // what it says of the source is not so here
    config.erase("quantization_config");
    config.erase("compression_config");
  }
  if (plan.model.untied_by_content) Untie(config);
  Json quantization = plan.format->config(plan.linears, plan.model);
  if (planned_.request.recipe.kv_cache != KvCache::kNone) {
    quantization["kv_cache_scheme"] = plan.format->cache_scheme();
  }
  if (!quantization.is_null()) config["quantization_config"] = std::move(quantization);
  return WriteText("config.json", DumpJsonPretty(config));
}

absl::Status ArtifactWriter::WriteModelFiles() {
  const bool contained = !planned_.plan.files.empty();
  if (!contained) QD_RETURN_IF_ERROR(WriteConfiguration());
  QD_ASSIGN_OR_RETURN(const SideFiles side, FindSideFiles(*planned_.files));
  for (const std::string& name : side.carried) {
    if (contained && !IsLegalFile(name)) continue;
    QD_ASSIGN_OR_RETURN(SealedFile sealed, planned_.files->CopyTo(name, PathOf(name)));
    sealed.path = name;
    QD_RETURN_IF_ERROR(AddFile(std::move(sealed)));
  }
  return absl::OkStatus();
}

absl::Status ArtifactWriter::WriteReport(Report& report) {
  QD_RETURN_IF_ERROR(WriteText("README.md", ModelCard(planned_, report)));
  QD_RETURN_IF_ERROR(WriteText("quantd/recipe.yaml", DumpJsonPretty(ToJson(report.recipe))));
  const auto by_path = [](const SealedFile& a, const SealedFile& b) { return a.path < b.path; };
  std::sort(files_.begin(), files_.end(), by_path);
  report.files = files_;
  QD_RETURN_IF_ERROR(WriteText("quantd/report.json", DumpJsonPretty(ToJson(report))));
  QD_RETURN_IF_ERROR(WriteText("quantd/report.html", ReportPage(report)));
  std::sort(files_.begin(), files_.end(), by_path);
  Json manifest = Json::array();
  for (const SealedFile& file : files_) manifest.push_back(ToJson(file));
  return WriteText("quantd/manifest.json",
                   DumpJsonPretty({{"schema", 1}, {"files", std::move(manifest)}}));
}

}  // namespace quantd
