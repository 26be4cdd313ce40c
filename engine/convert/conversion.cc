#include "engine/convert/conversion.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/convert/converted_folder.h"
#include "engine/convert/stored_rows.h"
#include "engine/format/registry.h"
#include "engine/inspect/model_source.h"
#include "engine/inspect/stored_linears.h"
#include "engine/tensor/model_folder.h"

namespace quantd {
namespace {

constexpr std::array<std::string_view, 3> kFormats = {"awq", "gptq", "compressed-tensors"};

absl::StatusOr<const Format*> TargetOf(const std::string& name) {
  if (std::find(kFormats.begin(), kFormats.end(), name) != kFormats.end()) {
    return FindFormat(name);
  }
  return MakeError(Reason::kInvalidField, "unknown format",
                   Violation{"--format", name, "awq, gptq or compressed-tensors"});
}

absl::Status CheckOutput(const ConvertOptions& options) {
  if (!PathExists(options.output_folder)) return absl::OkStatus();
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(options.output_folder);
  if (names.ok() && names->empty()) return absl::OkStatus();
  return MakeError(Reason::kInvalidField, "cannot write there",
                   Violation{"--out", options.output_folder + (names.ok() ? ", not empty" : ""),
                             "a new or empty folder"});
}

// A model with problems is not converted: what is damaged would look whole afterwards.
absl::Status CheckWhole(const Findings& findings) {
  if (findings.problems.empty()) return absl::OkStatus();
  std::vector<Violation> violations;
  for (const Finding& problem : findings.problems) {
    violations.push_back({problem.where, problem.text, "a whole model"});
  }
  return MakeError(Reason::kModelCorrupt, "the model has problems", std::move(violations));
}

absl::Status CheckModules(std::span<const StoredModule> modules) {
  constexpr size_t kMostNamed = 4;  // a layout that cannot be carried over is that of every linear
  std::vector<Violation> violations;
  size_t refused = 0;
  bool any = false;
  for (const StoredModule& module : modules) {
    if (module.layout == Layout::kDense) continue;
    any = true;
    const absl::Status convertible = CheckConvertible(module);
    if (convertible.ok() || ++refused > kMostNamed) continue;
    violations.push_back(ViolationsOf(convertible).front());
  }
  if (!any) {
    return MakeError(Reason::kFormatCannotHold, "nothing to convert",
                     Violation{"the model", "no quantized linear", "a quantized model"});
  }
  if (refused == 0) return absl::OkStatus();
  const std::string what = absl::StrCat("not without loss, for ", refused, " linears");
  return MakeError(Reason::kFormatCannotHold, what, std::move(violations));
}

// The schemes under which the target stores what there is.
absl::Status ChooseSchemes(const Format& target, std::string_view loader, StoredLinears* stored) {
  for (ResolvedLinear& resolved : stored->linears()) {
    if (!resolved.scheme.has_value()) continue;
    resolved.scheme->layout.clear();
    if (target.name == "awq") resolved.scheme->symmetric = false;  // zero points are always there
  }
  if (target.settle != nullptr) target.settle(stored->linears(), stored->model());
  return target.accepts(stored->linears(), stored->model(), {.name = loader});
}

class Conversion {
 public:
  Conversion(const ConvertOptions& options, const Format& target, const ModelFiles& files,
             const ModelSource& source, const StoredLinears& stored)
      : options_(options), target_(target), files_(files), source_(source), stored_(stored) {
    for (const StoredModule& module : source.modules) {
      if (module.layout != Layout::kDense) modules_[module.name] = &module;
    }
    for (const ResolvedLinear& resolved : stored.linears()) {
      if (!resolved.scheme.has_value()) continue;
      const StoredModule& module = *modules_.at(resolved.linear->name);
      for (const auto& [part, tensor] : module.parts) {
        if (part != "bias") replaced_.insert(tensor);
      }
    }
  }

  absl::StatusOr<ConvertReport> Run() {
    QD_RETURN_IF_ERROR(MakeFolders(options_.output_folder));
    const std::vector<ConvertedFile> files = PlanFiles();
    ConvertReport report;
    for (const ConvertedFile& file : files) {
      QD_RETURN_IF_ERROR(WriteWeights(file));
      ++report.files;
      for (const TensorInfo& tensor : file.tensors) report.bytes += tensor.bytes();
    }
    report.linears = static_cast<int64_t>(modules_.size());
    const Json quantization = target_.config(stored_.linears(), stored_.model());
    QD_RETURN_IF_ERROR(WriteModelFiles({.source = files_,
                                        .output = options_.output_folder,
                                        .config = source_.config,
                                        .quantization = quantization,
                                        .files = files}));
    return report;
  }

 private:
  // One file for each of the source: what it holds as it is, and the linears whose codes it has.
  std::vector<ConvertedFile> PlanFiles() const {
    std::vector<ConvertedFile> files(source_.folder.files().size());
    for (size_t i = 0; i < files.size(); ++i) {
      files[i].name = ConvertedFileName(i, files.size());
    }
    for (const auto& [name, tensor] : source_.folder.tensors()) {
      if (!replaced_.contains(&tensor)) files[tensor.file].AddCopy(tensor);
    }
    for (const ResolvedLinear& resolved : stored_.linears()) {
      if (!resolved.scheme.has_value()) continue;
      const StoredModule& module = *modules_.at(resolved.linear->name);
      const size_t file = module.parts.begin()->second->file;
      files[file].AddLinear(resolved, target_.tensors(*resolved.linear, *resolved.scheme));
    }
    std::erase_if(files, [](const ConvertedFile& file) { return file.tensors.empty(); });
    return files;
  }

  absl::Status WriteWeights(const ConvertedFile& file) const {
    QD_ASSIGN_OR_RETURN(
        const std::unique_ptr<TensorFile> writer,
        ShardWriter::Create(options_.output_folder + "/" + file.name, file.tensors));
    for (const auto& [index, tensor] : file.copies) {
      QD_RETURN_IF_ERROR(CopyTensor(source_.folder, *tensor, index, *writer));
    }
    for (const auto& [index, resolved] : file.linears) {
      const LinearSpec& linear = *resolved->linear;
      const StoredModule& module = *modules_.at(linear.name);
      QD_ASSIGN_OR_RETURN(QuantizedRows rows, ReadRows(source_.folder, module, linear));
      QD_RETURN_IF_ERROR(Adapt(linear, module.scheme, *resolved->scheme, &rows));
      const auto packed = PackLinear(target_, linear, *resolved->scheme, rows);
      for (size_t part = 0; part < packed.size(); ++part) {
        QD_RETURN_IF_ERROR(writer->Write(index + part, 0, packed[part]));
      }
    }
    return writer->Seal().status();
  }

  const ConvertOptions& options_;
  const Format& target_;
  const ModelFiles& files_;
  const ModelSource& source_;
  const StoredLinears& stored_;
  std::map<std::string, const StoredModule*> modules_;
  std::set<const FolderTensor*> replaced_;
};

}  // namespace

absl::StatusOr<ConvertReport> Convert(const ConvertOptions& options) {
  QD_ASSIGN_OR_RETURN(const Format* const target, TargetOf(options.format));
  QD_RETURN_IF_ERROR(CheckOutput(options));
  Findings findings;
  QD_ASSIGN_OR_RETURN(const auto files, OpenModelFolder(options.model_folder));
  QD_ASSIGN_OR_RETURN(const ModelSource source, ReadModelSource(*files, &findings));
  QD_RETURN_IF_ERROR(CheckWhole(findings));
  QD_RETURN_IF_ERROR(CheckModules(source.modules));
  StoredLinears stored(source.modules, source.config);
  QD_RETURN_IF_ERROR(ChooseSchemes(*target, options.loader, &stored));
  const bool is_new = !PathExists(options.output_folder);
  absl::StatusOr<ConvertReport> report = Conversion(options, *target, *files, source, stored).Run();
  // Half a model is none.
  if (!report.ok() && is_new) RemoveTree(options.output_folder).IgnoreError();
  return report;
}

}  // namespace quantd
