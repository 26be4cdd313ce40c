// A small model of a family as a GGUF file of ours, and how it is read back.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/gguf_source/open_model.h"
#include "engine/run/quantize.h"
#include "gtest/gtest.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {

class GgufRoundTrip : public ::testing::Test {
 protected:
  // A copy of a model of tests/golden/models with `changes` in its config.json, and a tokenizer
  // whose tokens are letters.
  std::string Original(const std::string& name, const Json& changes = Json::object()) const {
    const std::string original = folder_.path() + "/original";
    std::filesystem::remove_all(original);
    std::filesystem::copy(SourcePath("tests/golden/models/" + name), original);
    std::filesystem::remove(original + "/golden_logits.json");
    Json config = *ParseJson(*ReadFile(original + "/config.json", 1 << 20), "config.json");
    config.update(changes);
    EXPECT_TRUE(WriteFileAtomic(original + "/config.json", DumpJsonPretty(config)).ok());
    EXPECT_TRUE(WriteFileAtomic(original + "/tokenizer.json",
                                DumpJson(Letters(config["vocab_size"].get<int>())))
                    .ok());
    return original;
  }

  // What the recipe makes of `model`, in a folder of its own.
  absl::StatusOr<std::string> Quantized(const std::string& model, const std::string& recipe,
                                        const std::string& format) const {
    QuantizeRequest request;
    request.model_folder = model;
    request.output_folder = folder_.path() + "/" + format;
    std::filesystem::remove_all(request.output_folder);
    request.recipe = *ParseRecipe(recipe);
    request.output.format = format;
    request.evaluation.enabled = false;
    request.calibration.samples = 2;
    request.calibration.tokens_per_sample = 64;
    QD_ASSIGN_OR_RETURN(const auto planned, MakePlan(request));
    SilentSink sink;
    QD_RETURN_IF_ERROR(Quantize(*planned, sink).status());
    return request.output_folder;
  }

  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  // The only GGUF file of a folder.
  static std::string FileIn(const std::string& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".gguf") return entry.path().string();
    }
    return "";
  }

 private:
  static Json Letters(int count) {
    Json vocabulary = Json::object();
    for (int id = 0; id < count; ++id) {
      const auto letter = static_cast<char>('!' + id % 94);
      vocabulary[std::string(static_cast<size_t>(1 + id / 94), letter)] = id;
    }
    return {
        {"version", "1.0"},
        {"added_tokens", Json::array()},
        {"pre_tokenizer",
         {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", true}}},
        {"model", {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", Json::array()}}}};
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("gguf-source");
};

}  // namespace quantd
