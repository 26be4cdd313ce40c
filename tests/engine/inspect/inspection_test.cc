// Folders in the layouts of this and other tools, whole and damaged.
#include "engine/inspect/inspection.h"

#include <filesystem>
#include <limits>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/inspect/model_folder.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// "where: text" of every problem.
std::vector<std::string> Problems(const ModelFolder& folder, const InspectOptions& options = {}) {
  const auto inspection = Inspect(folder.path(), options);
  EXPECT_TRUE(inspection.ok()) << inspection.status();
  std::vector<std::string> lines;
  if (!inspection.ok()) return lines;
  for (const Finding& problem : inspection->findings.problems) {
    lines.push_back(problem.where + ": " + problem.text);
  }
  return lines;
}

using Change = std::function<void(std::vector<HandMadeTensor>&, Json&)>;

HandMadeTensor& Tensor(std::vector<HandMadeTensor>& tensors, const std::string& name) {
  for (HandMadeTensor& tensor : tensors) {
    if (tensor.info.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

const std::string kQ = "model.layers.0.self_attn.q_proj";

// Writes the folder after `change`.
void Write(const ModelFolder& folder, std::vector<HandMadeTensor> tensors, Json config,
           const Change& change) {
  for (HandMadeTensor& tensor : TinyLlamaRest()) tensors.push_back(std::move(tensor));
  if (change) change(tensors, config);
  folder.Config(config);
  folder.Text("tokenizer.json", "{}");
  folder.Shard("model.safetensors", tensors);
}

void WriteDense(const ModelFolder& folder, const Change& change = nullptr) {
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Same(name + ".weight", DType::kF16, {128, 128}));
  }
  Write(folder, std::move(tensors), TinyLlamaConfig(), change);
}

// Asymmetric int4, groups of 32, as llm-compressor writes it.
void WriteCompressed(const ModelFolder& folder, const Change& change = nullptr) {
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Words(name + ".weight_packed", {128, 16}, 0x76543210));
    tensors.push_back(Same(name + ".weight_scale", DType::kF16, {128, 4}, 0.01F));
    tensors.push_back(Words(name + ".weight_zero_point", {16, 4}, 0x88888888));
    tensors.push_back(Integers<int64_t>(name + ".weight_shape", DType::kI64, {2}, {128, 128}));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "pack-quantized"},
                                   {"ignore", {"lm_head"}},
                                   {"config_groups",
                                    {{"group_0",
                                      {{"targets", {"Linear"}},
                                       {"weights",
                                        {{"num_bits", 4},
                                         {"type", "int"},
                                         {"symmetric", false},
                                         {"strategy", "group"},
                                         {"group_size", 32}}}}}}}};
  Write(folder, std::move(tensors), config, change);
}

void WriteAwq(const ModelFolder& folder, const Change& change = nullptr) {
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Words(name + ".qweight", {128, 16}, 0x76543210));
    tensors.push_back(Words(name + ".qzeros", {2, 16}, 0x88888888));
    tensors.push_back(Same(name + ".scales", DType::kF16, {2, 128}, 0.01F));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4},
                                   {"group_size", 64},      {"zero_point", true},
                                   {"version", "gemm"},     {"modules_to_not_convert", nullptr}};
  Write(folder, std::move(tensors), config, change);
}

void WriteGptq(const ModelFolder& folder, const Change& change = nullptr) {
  std::vector<int32_t> index(128);
  for (int i = 0; i < 128; ++i) index[static_cast<size_t>(i)] = i / 32;
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Words(name + ".qweight", {32, 128}, 0x03020100));
    tensors.push_back(Words(name + ".qzeros", {4, 32}, 0x7f7f7f7f));
    tensors.push_back(Same(name + ".scales", DType::kF16, {4, 128}, 0.01F));
    tensors.push_back(Integers<int32_t>(name + ".g_idx", DType::kI32, {128}, index));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {
      {"quant_method", "gptq"}, {"bits", 8},   {"group_size", 32},
      {"desc_act", false},      {"sym", true}, {"checkpoint_format", "gptq"}};
  Write(folder, std::move(tensors), config, change);
}

// 4 bits, groups of 64, as transformers writes it.
void WriteHqq(const ModelFolder& folder, const Change& change = nullptr) {
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Integers<uint8_t>(name + ".W_q", DType::kU8, {128, 64},
                                        std::vector<uint8_t>(128 * 64, 0x37)));
    tensors.push_back(Same(name + ".scale", DType::kF16, {256, 1}, 0.01F));
    tensors.push_back(Same(name + ".zero", DType::kF16, {256, 1}, 7.5F));
    tensors.push_back(Integers<int64_t>(name + ".shape", DType::kI64, {2}, {128, 128}));
    tensors.push_back(Integers<int32_t>(name + ".nbits", DType::kI32, {}, {4}));
    tensors.push_back(Integers<int32_t>(name + ".group_size", DType::kI32, {}, {64}));
    tensors.push_back(Integers<int32_t>(name + ".axis", DType::kI32, {}, {1}));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {
      {"quant_method", "hqq"},
      {"skip_modules", {"lm_head"}},
      {"quant_config", {{"weight_quant_params", {{"nbits", 4}, {"group_size", 64}, {"axis", 1}}}}}};
  Write(folder, std::move(tensors), config, change);
}

struct LayoutCase {
  const char* name;
  void (*write)(const ModelFolder&, const Change&);
  const char* layout;
  const char* scheme;
  double bits;
};

class LayoutTest : public testing::TestWithParam<LayoutCase> {};

TEST_P(LayoutTest, IsReadWithoutProblems) {
  ModelFolder folder;
  GetParam().write(folder, nullptr);
  EXPECT_THAT(Problems(folder), IsEmpty());
  const auto inspection = Inspect(folder.path(), {});
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(inspection->family, "llama");
  EXPECT_EQ(inspection->layout, GetParam().layout);
  EXPECT_NEAR(inspection->bits_quantized, GetParam().bits, 1e-9);
  EXPECT_EQ(inspection->parameters, 7 * 128 * 128 + 2 * 64 * 128 + 3 * 128);
  bool found = false;
  for (const InspectedModule& module : inspection->modules) {
    if (module.name != kQ) continue;
    found = true;
    EXPECT_EQ(module.scheme, GetParam().scheme);
    EXPECT_EQ(module.out_features, 128);
    EXPECT_EQ(module.in_features, 128);
  }
  EXPECT_TRUE(found);
}

// Bits of one linear: bytes of codes, scales, zeros and the small parts over its 16384 weights.
constexpr double Bits(int bytes) { return 8.0 * bytes / (128 * 128); }
INSTANTIATE_TEST_SUITE_P(All, LayoutTest,
                         testing::Values(LayoutCase{"Dense", WriteDense, "dense", "f16", 0},
                                         LayoutCase{"CompressedTensors", WriteCompressed,
                                                    "compressed-tensors pack-quantized",
                                                    "int4 g32 asym", Bits(8192 + 1024 + 256 + 16)},
                                         LayoutCase{"Awq", WriteAwq, "awq gemm", "int4 g64 asym",
                                                    Bits(8192 + 512 + 128)},
                                         LayoutCase{"Gptq", WriteGptq, "gptq", "int8 g32 sym",
                                                    Bits(16384 + 1024 + 512 + 512)},
                                         LayoutCase{"Hqq", WriteHqq, "hqq", "int4 g64 real zeros",
                                                    Bits(8192 + 512 + 512 + 16 + 12)}),
                         [](const auto& info) { return std::string(info.param.name); });

struct DamageCase {
  const char* name;
  void (*write)(const ModelFolder&, const Change&);
  Change change;
  const char* problem;
};

class DamageTest : public testing::TestWithParam<DamageCase> {};

TEST_P(DamageTest, IsFound) {
  ModelFolder folder;
  GetParam().write(folder, GetParam().change);
  EXPECT_THAT(Problems(folder), Contains(HasSubstr(GetParam().problem)));
}

void Remove(std::vector<HandMadeTensor>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const HandMadeTensor& tensor) { return tensor.info.name == name; });
}
void Replace(std::vector<HandMadeTensor>& tensors, HandMadeTensor tensor) {
  Tensor(tensors, tensor.info.name) = std::move(tensor);
}
Json& Config(Json& config) { return config["quantization_config"]; }

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const DamageCase kDamage[] = {
    {"MissingNorm", WriteDense, [](auto& tensors, auto&) { Remove(tensors, "model.norm.weight"); },
     "model.norm.weight: missing"},
    {"MissingLinear", WriteDense, [](auto& tensors, auto&) { Remove(tensors, kQ + ".weight"); },
     "q_proj: missing"},
    {"WrongShape", WriteDense,
     [](auto& tensors, auto&) { Replace(tensors, Same(kQ + ".weight", DType::kF16, {64, 128})); },
     "config.json wants [128, 128]"},
    {"NotANumber", WriteDense,
     [](auto& tensors, auto&) {
       Replace(tensors, Same("model.norm.weight", DType::kF16, {128}, kNan));
     },
     "model.norm.weight: NaN or infinity"},
    {"BlockTooMany", WriteDense,
     [](auto& tensors, auto&) {
       tensors.push_back(Same("model.layers.1.input_layernorm.weight", DType::kF16, {128}));
     },
     "blocks that config.json does not have"},
    {"ZeroScale", WriteCompressed,
     [](auto& tensors, auto&) {
       Replace(tensors, Same(kQ + ".weight_scale", DType::kF16, {128, 4}, 0));
     },
     "q_proj.weight_scale: 512 of 512 scales are 0"},
    {"MissingScale", WriteCompressed,
     [](auto& tensors, auto&) { Remove(tensors, kQ + ".weight_scale"); },
     "q_proj.weight_scale: missing"},
    {"DeclaredWidth", WriteCompressed,
     [](auto&, auto& config) {
       Config(config)["config_groups"]["group_0"]["weights"]["num_bits"] = 8;
     },
     "config.json says 8 bits, the tensors hold 4"},
    {"DeclaredSymmetric", WriteCompressed,
     [](auto&, auto& config) {
       Config(config)["config_groups"]["group_0"]["weights"]["symmetric"] = true;
     },
     "config.json says symmetric, and there are zero points"},
    {"ShapeLies", WriteCompressed,
     [](auto& tensors, auto&) {
       Replace(tensors, Integers<int64_t>(kQ + ".weight_shape", DType::kI64, {2}, {-1, 1 << 30}));
     },
     "q_proj.weight_shape: says"},
    {"QuantizedButTied", WriteCompressed,
     [](auto& tensors, auto& config) {
       config["tie_word_embeddings"] = true;
       Remove(tensors, "lm_head.weight");
       tensors.push_back(Words("lm_head.weight_packed", {64, 16}, 0));
     },
     "lm_head: quantized, though config.json ties it"},
    {"TiedButDeclared", WriteCompressed,
     [](auto& tensors, auto& config) {
       config["tie_word_embeddings"] = true;
       Config(config)["ignore"] = Json::array();
       Remove(tensors, "lm_head.weight");
     },
     "lm_head: tied to the embedding, and config.json says it is quantized"},
    {"DenseButDeclared", WriteCompressed,
     [](auto&, auto& config) { Config(config)["ignore"] = Json::array(); },
     "lm_head: dense, and config.json says that it is quantized"},
    {"Undeclared", WriteAwq, [](auto&, auto& config) { config.erase("quantization_config"); },
     "quantized, and config.json does not say so"},
    {"AwqGroups", WriteAwq, [](auto&, auto& config) { Config(config)["group_size"] = 128; },
     "config.json says groups of 128, the scales are for groups of 64"},
    {"AwqZeros", WriteAwq,
     [](auto& tensors, auto&) { Replace(tensors, Words(kQ + ".qzeros", {4, 16}, 0)); },
     "q_proj.qzeros: is [4, 16], wanted [2, 16]"},
    {"GptqNotSymmetric", WriteGptq,
     [](auto& tensors, auto&) { Replace(tensors, Words(kQ + ".qzeros", {4, 32}, 0x80808080)); },
     "zero points are not 127, as sym: true says"},
    {"GptqZeroWrapped", WriteGptq,
     [](auto& tensors, auto&) { Replace(tensors, Words(kQ + ".qzeros", {4, 32}, 0x7f7fff7f)); },
     "zero points stored as 255: out of range in version 1"},
    {"GptqOrder", WriteGptq,
     [](auto& tensors, auto&) {
       std::vector<int32_t> index(128);
       for (size_t i = 0; i < 128; ++i) index[i] = 3 - static_cast<int32_t>(i / 32);
       Replace(tensors, Integers<int32_t>(kQ + ".g_idx", DType::kI32, {128}, index));
     },
     "groups are not in order, and desc_act is not set"},
    {"GptqIndexBeyond", WriteGptq,
     [](auto& tensors, auto&) {
       Replace(tensors,
               Integers<int32_t>(kQ + ".g_idx", DType::kI32, {128}, std::vector<int32_t>(128, 4)));
     },
     "128 inputs name a group beyond the 4 there are"},
    {"HqqGroup", WriteHqq,
     [](auto& tensors, auto&) {
       Replace(tensors, Integers<int32_t>(kQ + ".group_size", DType::kI32, {}, {60}));
     },
     "4 bits in groups of 60 of 16384 weights"},
    {"HqqInfinite", WriteHqq,
     [](auto& tensors, auto&) {
       Replace(tensors,
               Same(kQ + ".zero", DType::kF16, {256, 1}, std::numeric_limits<float>::infinity()));
     },
     "q_proj.zero: NaN or infinity"},
};
INSTANTIATE_TEST_SUITE_P(All, DamageTest, testing::ValuesIn(kDamage),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(InspectTest, TruncatedFileIsAProblem) {
  ModelFolder folder;
  WriteDense(folder);
  const std::string file = folder.path() + "/model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  EXPECT_THAT(Problems(folder), Contains(HasSubstr("model.safetensors")));
}

TEST(InspectTest, IndexAndShardsMustAgree) {
  ModelFolder folder;
  WriteDense(folder);
  folder.Shard("model-2.safetensors", {Same("model.norm.weight", DType::kF16, {128})});
  folder.Text("model.safetensors.index.json",
              R"({"weight_map": {"model.norm.weight": "model-2.safetensors",
                  "gone.weight": "model.safetensors", "lost.weight": "model-3.safetensors"}})");
  const std::vector<std::string> problems = Problems(folder);
  EXPECT_THAT(problems, Contains(HasSubstr("model.norm.weight: in model-2.safetensors and again")));
  EXPECT_THAT(problems, Contains(HasSubstr("model-3.safetensors: no such file")));
  EXPECT_THAT(problems, Contains(HasSubstr("lm_head.weight: in model.safetensors, but not in")));
}

TEST(InspectTest, HeadersAloneDoNotReadWeights) {
  ModelFolder folder;
  WriteDense(folder, [](auto& tensors, auto&) {
    Replace(tensors, Same("model.norm.weight", DType::kF16, {128}, kNan));
  });
  EXPECT_THAT(Problems(folder, {.contents = ReadContents::kHeadersOnly, .loader = ""}), IsEmpty());
}

TEST(InspectTest, RefusalOfALoaderIsAProblemWhenAskedFor) {
  ModelFolder folder;
  WriteCompressed(folder, [](auto& tensors, auto&) {
    Remove(tensors, "model.layers.0.self_attn.k_proj.weight_packed");
    Remove(tensors, "model.layers.0.self_attn.k_proj.weight_scale");
    Remove(tensors, "model.layers.0.self_attn.k_proj.weight_zero_point");
    Remove(tensors, "model.layers.0.self_attn.k_proj.weight_shape");
    tensors.push_back(Same("model.layers.0.self_attn.k_proj.weight", DType::kF16, {128, 128}));
  });
  const InspectOptions vllm = {.contents = ReadContents::kAll, .loader = "vllm"};
  EXPECT_THAT(Problems(folder, vllm), Contains(HasSubstr("fused on loading")));
  EXPECT_EQ(
      Inspect(folder.path(), {.contents = ReadContents::kAll, .loader = "nobody"}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(InspectTest, NothingThereIsAnError) {
  EXPECT_EQ(ReasonOf(Inspect("/nowhere/at/all", {}).status()), Reason::kModelNotFound);
  ModelFolder empty;
  EXPECT_EQ(ReasonOf(Inspect(empty.path(), {}).status()), Reason::kModelNotFound);
}

TEST(InspectTest, ModulesAreGroupedOverBlocks) {
  const auto inspection = Inspect(SourcePath("models/books-3m"), {});
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_THAT(inspection->findings.problems, IsEmpty());
  int64_t parameters = 0, fours = 0;
  for (const ModuleGroup& group : GroupModules(*inspection)) {
    parameters += group.parameters;
    if (group.count == 4) ++fours;
  }
  EXPECT_EQ(fours, 7);
  EXPECT_EQ(inspection->bytes, 2 * inspection->parameters);
  EXPECT_EQ(inspection->parameters, parameters + 9 * 256);
}

}  // namespace
}  // namespace quantd
