#include "engine/tensor/found_instead.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

struct Diagnosis {
  std::string got, wanted;
};

using Names = std::vector<std::string>;

const std::string* FirstEnding(const Names& names, std::initializer_list<const char*> endings) {
  for (const std::string& name : names) {
    for (const char* ending : endings) {
      if (absl::EndsWith(name, ending)) return &name;
    }
  }
  return nullptr;
}

bool Has(const Names& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<Diagnosis> Adapter(const Names& names) {
  if (!Has(names, "adapter_config.json") && !Has(names, "adapter_model.safetensors")) {
    return std::nullopt;
  }
  return Diagnosis{"a LoRA adapter (adapter_config.json), not a model",
                   "the base model with the adapter merged into it, as merge_and_unload() of the "
                   "peft library and save_pretrained() write it"};
}

std::optional<Diagnosis> Unfinished(const Names& names) {
  const std::string* found =
      FirstEnding(names, {".incomplete", ".part", ".crdownload", ".aria2", ".download"});
  if (found == nullptr) return std::nullopt;
  return Diagnosis{*found + ", a download that did not end", "the whole files: fetch it again"};
}

std::optional<Diagnosis> Pickles(const Names& names) {
  const std::string* found = FirstEnding(names, {".bin", ".pt", ".pth", ".ckpt"});
  if (found == nullptr) return std::nullopt;
  return Diagnosis{*found + ", weights in a pickle, and no safetensors",
                   "model.safetensors: transformers' from_pretrained() reads the former and "
                   "save_pretrained() writes the latter"};
}

std::optional<Diagnosis> Elsewhere(const Names& names) {
  const std::string* found = FirstEnding(names, {".h5", ".msgpack", ".onnx", ".npz"});
  if (found == nullptr) return std::nullopt;
  return Diagnosis{*found + ", weights of another framework", "model.safetensors"};
}

// Links that lead nowhere are listed like files, and are none.
std::optional<Diagnosis> Dangling(const ModelFiles& files, const Names& names) {
  const auto missing = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
    return files.Has(name) && !files.Open(name).ok();
  });
  if (missing == names.end()) return std::nullopt;
  return Diagnosis{*missing + ", a link to nowhere or a file that cannot be opened",
                   "the file behind it: was the cache's blob removed?"};
}

}  // namespace

bool IsLfsPointer(std::string_view head) {
  return head.starts_with("version https://git-lfs.github.com/spec/");
}

absl::Status LfsPointerError(const std::string& where) {
  return MakeError(Reason::kModelCorrupt, "a file that was not fetched",
                   Violation{.where = where,
                             .got = "a Git LFS pointer",
                             .wanted = "the file it stands for: run `git lfs pull` in the folder"});
}

absl::Status NoWeightsError(const ModelFiles& files) {
  Diagnosis diagnosis = {"no safetensors files",
                         "model.safetensors or model.safetensors.index.json"};
  if (const auto names = files.List(); names.ok()) {
    const std::array found = {Adapter(*names), Unfinished(*names), Dangling(files, *names),
                              Pickles(*names), Elsewhere(*names)};
    const auto first =
        std::find_if(found.begin(), found.end(), [](const auto& one) { return one.has_value(); });
    if (first != found.end()) diagnosis = **first;
  }
  return MakeError(Reason::kModelNotFound, "cannot open the model",
                   Violation{.where = files.location(),
                             .got = std::move(diagnosis.got),
                             .wanted = std::move(diagnosis.wanted)});
}

}  // namespace quantd
