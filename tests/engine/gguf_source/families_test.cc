// A model of every family that is read, written as GGUF and read back: the same model.
#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/gguf_source/gguf_round_trip.h"
#include "tests/engine/model/whole_model.h"

namespace quantd {
namespace {

struct Variant {
  std::string model;  // of tests/golden/models
  std::string type;   // that keeps every value
  // What GGUF has no key for, or what its readers take for granted.
  Json changes = Json::object();
};

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.model; }

const Json kSliding = Json::array({"sliding_attention", "sliding_attention"});

std::vector<Variant> Variants() {
  return {
      {"llama-biases", "BF16"},
      {"llama-rope-linear", "BF16"},
      {"llama-rope-llama3", "BF16"},
      {"llama-rope-yarn",
       "BF16",
       {{"rope_scaling",
         {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}}}}},
      {"mistral-window", "F16", {{"sliding_window", nullptr}}},
      {"qwen2-tied-window", "BF16", {{"use_sliding_window", false}, {"layer_types", nullptr}}},
      {"qwen3", "BF16", {{"attention_bias", false}}},
      {"gemma", "BF16"},
      {"gemma2", "BF16", {{"query_pre_attn_scalar", 12}}},
      {"gemma3_text", "BF16", {{"query_pre_attn_scalar", 16}, {"layer_types", kSliding}}},
      {"phi3", "BF16", {{"sliding_window", nullptr}}},
      {"phi3-short-partial", "BF16", {{"sliding_window", nullptr}}},
      {"mixtral", "BF16", {{"sliding_window", nullptr}}},
      {"qwen3_moe-normalized", "BF16"},
  };
}

class GgufFamiliesTest : public GgufRoundTrip, public ::testing::WithParamInterface<Variant> {};

double Apart(std::span<const float> a, std::span<const float> b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, static_cast<double>(std::abs(a[i] - b[i])));
  }
  return most;
}

TEST_P(GgufFamiliesTest, ComesBackAsItWas) {
  const std::string original = Original(GetParam().model, GetParam().changes);
  const auto out = Quantized(
      original, "default: {method: gguf, options: {type: " + GetParam().type + "}}", "gguf");
  ASSERT_TRUE(out.ok()) << out.status();
  const auto files = OpenModel(FileIn(*out));
  ASSERT_TRUE(files.ok()) << files.status();
  const auto before = WholeModel::Open(original), after = WholeModel::Open(*files);
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  // An untied head is a tensor, a tied one is not, in both.
  std::set<std::string> names;
  for (const TensorInfo* info : (*before)->checkpoint().Tensors()) {
    names.insert(info->name);
    const TensorInfo* found = (*after)->checkpoint().Find(info->name);
    ASSERT_NE(found, nullptr) << info->name;
    EXPECT_EQ(found->shape, info->shape) << info->name;
    const auto was = (*before)->checkpoint().ReadF32(info->name);
    const auto is = (*after)->checkpoint().ReadF32(info->name);
    ASSERT_TRUE(was.ok() && is.ok()) << is.status();
    // 1 was added to the gains of Gemma's norms in F32, and is taken away again.
    const bool shifted = (*before)->spec().gain_offset != 0 && info->shape.size() == 1;
    EXPECT_LE(Apart(was->span(), is->span()), shifted ? 1e-7 : 0.0) << info->name;
  }
  for (const TensorInfo* info : (*after)->checkpoint().Tensors()) {
    EXPECT_TRUE(names.contains(info->name)) << info->name;
  }
  const std::vector<int32_t> ids = {1, 5, 9, 2, 40, 7, 60, 3, 3, 11, 12, 80, 0, 6};
  const auto wanted = (*before)->Logits(ids, ComputeType::kF32);
  const auto got = (*after)->Logits(ids, ComputeType::kF32);
  ASSERT_TRUE(wanted.ok() && got.ok()) << got.status();
  EXPECT_LE(Apart(*wanted, *got), 2e-5);
}

// Rows, and bytes anywhere in them, are those of the whole.
TEST_P(GgufFamiliesTest, AnyPieceIsAPieceOfTheWhole) {
  const std::string original = Original(GetParam().model, GetParam().changes);
  const auto out = Quantized(original, "default: {method: gguf, options: {type: Q4_0}}", "gguf");
  ASSERT_TRUE(out.ok()) << out.status();
  const auto files = OpenModel(FileIn(*out));
  ASSERT_TRUE(files.ok()) << files.status();
  const auto file = (*files)->Open("model.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::byte> whole(static_cast<size_t>((*file)->size()));
  ASSERT_TRUE((*file)->Read(0, whole).ok());
  for (int64_t offset = 0; offset < (*file)->size(); offset += 997) {
    const auto size =
        static_cast<size_t>(std::min<int64_t>(1 + offset % 301, (*file)->size() - offset));
    std::vector<std::byte> piece(size);
    ASSERT_TRUE((*file)->Read(offset, piece).ok());
    EXPECT_TRUE(std::equal(piece.begin(), piece.end(), whole.begin() + offset)) << offset;
  }
  EXPECT_FALSE((*file)->Read((*file)->size(), std::span(whole).first(1)).ok());
}

INSTANTIATE_TEST_SUITE_P(Variants, GgufFamiliesTest, ::testing::ValuesIn(Variants()),
                         [](const auto& info) {
                           std::string name = info.param.model;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace quantd
