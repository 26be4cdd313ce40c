#include "engine/format/gptq.h"

#include "base/error.h"
#include "engine/format/packed_words.h"
#include "gmock/gmock.h"
#include "tests/engine/format/packing.h"

namespace quantd {
namespace {

TEST(PackedWords, CodesOfThreeBitsLieAcrossWords) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
    std::vector<uint32_t> words(static_cast<size_t>(WordsFor(65, bits)), 0);
    for (int64_t i = 0; i < 65; ++i) {
      PutCode(static_cast<uint32_t>(i * 5) & ((1U << bits) - 1), i, bits, words.data());
    }
    for (int64_t i = 0; i < 65; ++i) {
      ASSERT_EQ(CodeAt(words.data(), i, bits), static_cast<uint32_t>(i * 5) & ((1U << bits) - 1))
          << bits << " bits, code " << i;
    }
  }
}

TEST(Gptq, PacksAsGptqmodelDoes) {
  const auto golden = GoldenPacking("gptqmodel");
  const LinearSpec linear = PackedLinear(golden["rows"], golden["columns"]);
  int compared = 0;
  for (const auto& one : golden["cases"]) {
    const int bits = one["bits"];
    Scheme scheme = PackedScheme(bits, golden["group_size"], one["symmetric"]);
    QuantizedRows rows = GoldenRows(golden, one);
    const auto group_of = one["g_idx"].get<std::vector<int32_t>>();
    scheme.ordered_groups = group_of != NeighbouringGroups(linear, scheme);
    if (scheme.ordered_groups) rows.group_of = group_of;
    for (const std::string layout : {"", kGptqV2}) {
      // Its 3-bit zero points less one are those of nobody else: such checkpoints are written as
      // v2.
      if (bits == 3 && layout.empty()) continue;
      SCOPED_TRACE(one["bits"].dump() + " bits " + one["symmetric"].dump() + layout);
      scheme.layout = layout;
      const PackedTensors tensors = PackAllStripes(kGptqFormat, linear, scheme, rows);
      EXPECT_EQ(ValuesIn<int32_t>(tensors[0]), one["qweight"].get<std::vector<int32_t>>());
      EXPECT_EQ(ValuesIn<int32_t>(tensors[1]),
                one[layout.empty() ? "qzeros_v1" : "qzeros_v2"].get<std::vector<int32_t>>());
      EXPECT_EQ(FloatsIn(tensors[2], DType::kF16), one["stored_scales"].get<std::vector<float>>());
      EXPECT_EQ(ValuesIn<int32_t>(tensors[3]), group_of);
      const auto back = UnpackAll(kGptqFormat, linear, scheme, tensors);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_EQ(back->codes, rows.codes);
      EXPECT_EQ(back->zeros, rows.zeros);
      EXPECT_EQ(back->scales, rows.scales);
      EXPECT_EQ(back->group_of, rows.group_of);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 19);
}

// Several stripes, the last one short; one group; zero points of every value.
TEST(Gptq, EveryShapeComesBack) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const int64_t group_size : {int64_t{0}, int64_t{8}, int64_t{96}}) {
      for (const bool symmetric : {true, false}) {
        const LinearSpec linear = PackedLinear(32, 288 * 2);
        Scheme scheme = PackedScheme(bits, group_size, symmetric);
        const QuantizedRows rows = RandomRows(linear, scheme);
        for (const std::string layout : {"", kGptqV2}) {
          scheme.layout = layout;
          const auto back = UnpackAll(kGptqFormat, linear, scheme,
                                      PackAllStripes(kGptqFormat, linear, scheme, rows));
          ASSERT_TRUE(back.ok()) << back.status();
          EXPECT_EQ(DequantizeAll(*back), DequantizeAll(rows)) << bits << " " << group_size;
        }
      }
    }
  }
}

// Stored less one, zero point 0 would run into its neighbours: the group is turned round instead.
TEST(Gptq, ZeroPointZeroIsStoredTheOtherWayRound) {
  const LinearSpec linear = PackedLinear(32, 32);
  const Scheme scheme = PackedScheme(4, 32, false);
  QuantizedRows rows = RandomRows(linear, scheme);
  for (int8_t& zero : rows.zeros) zero = -8;
  const PackedTensors tensors = PackAllStripes(kGptqFormat, linear, scheme, rows);
  for (const uint32_t word : ValuesIn<uint32_t>(tensors[1])) EXPECT_EQ(word, 0xeeeeeeeeU);
  const auto back = UnpackAll(kGptqFormat, linear, scheme, tensors);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->scales[0], -rows.scales[0]);
  EXPECT_EQ(DequantizeAll(*back), DequantizeAll(rows));
}

TEST(Gptq, RefusesBytesThatAreNoSuchLinear) {
  const LinearSpec linear = PackedLinear(32, 64);
  const Scheme scheme = PackedScheme(4, 32, true);
  const PackedTensors tensors =
      PackAllStripes(kGptqFormat, linear, scheme, RandomRows(linear, scheme));
  const auto refused = [&](const PackedTensors& changed) {
    return ReasonOf(UnpackAll(kGptqFormat, linear, scheme, changed).status()) ==
           Reason::kModelCorrupt;
  };
  for (size_t part = 0; part < tensors.size(); ++part) {
    PackedTensors changed = tensors;
    changed[part].pop_back();
    EXPECT_TRUE(refused(changed)) << part;
  }
  PackedTensors changed = tensors;
  changed.pop_back();
  EXPECT_TRUE(refused(changed));
  changed = tensors;
  changed[1][0] ^= std::byte{1};  // a zero point of a symmetric scheme
  EXPECT_TRUE(refused(changed));
  changed = tensors;
  changed[3][0] = std::byte{1};  // input 0 in group 1
  EXPECT_TRUE(refused(changed));
}

class GptqRules : public ::testing::Test {
 protected:
  GptqRules() {
    const auto add = [&](const std::string& name, LinearRole role, int64_t outputs,
                         int64_t inputs) {
      LinearSpec linear = PackedLinear(outputs, inputs);
      linear.name = name;
      linear.role = role;
      linear.block = role == LinearRole::kHead ? -1 : 0;
      linears_.push_back(linear);
    };
    add("model.layers.0.self_attn.q_proj", LinearRole::kQ, 512, 512);
    add("model.layers.0.self_attn.k_proj", LinearRole::kK, 256, 512);
    add("model.layers.0.self_attn.v_proj", LinearRole::kV, 256, 512);
    add("model.layers.0.mlp.down_proj", LinearRole::kDown, 512, 1280);
    add("lm_head", LinearRole::kHead, 2048, 512);
    model_.heads = 8;
    model_.kv_heads = 4;
    for (const LinearSpec& linear : linears_) resolved_.push_back({&linear, std::nullopt});
    SetAll(PackedScheme(4, 128, true));
  }
  void SetAll(const Scheme& scheme) {
    for (size_t i = 0; i + 1 < resolved_.size(); ++i) resolved_[i].scheme = scheme;
  }
  std::vector<Violation> Violations(std::string_view loader, int64_t tensor_parallel = 1) {
    return ViolationsOf(kGptqFormat.accepts(resolved_, model_,
                                            {.name = loader, .tensor_parallel = tensor_parallel}));
  }

  std::vector<LinearSpec> linears_;
  ModelSpec model_;
  std::vector<ResolvedLinear> resolved_;
};

TEST_F(GptqRules, EveryLoaderTakesFourBitsSymmetric) {
  for (const LoaderRow& loader : kGptqFormat.loaders) {
    EXPECT_TRUE(Violations(loader.name).empty()) << loader.name;
  }
  EXPECT_EQ(Violations("vllm", 2).size(), 0U);
}

TEST_F(GptqRules, DevicesMustGetWholeGroupsAndHeads) {
  // 1280 / 4 = 320 inputs are not whole groups of 128, nor a multiple of 128, which vLLM fills up.
  std::vector<Violation> violations = Violations("vllm", 4);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].where, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(violations[0].got, "1280 inputs over 4 devices");
  violations = Violations("sglang", 4);
  ASSERT_EQ(violations.size(), 2U);
  EXPECT_EQ(violations[1].got, "320 inputs on each of 4 devices");
  violations = Violations("sglang", 3);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations[0].got, "8 heads over 3 devices");
  violations = Violations("transformers", 2);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].where, "output.tensor_parallel");
}

TEST_F(GptqRules, MixedRecipesNeedLoadersThatReadThem) {
  resolved_[3].scheme = PackedScheme(8, 64, true);
  EXPECT_TRUE(Violations("vllm").empty());
  const std::vector<Violation> violations = Violations("transformers");
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].where, "model.layers.0.mlp.down_proj");
  const Json config = kGptqFormat.config(resolved_, model_);
  EXPECT_EQ(config["bits"], 8);  // most weights
  EXPECT_EQ(config["dynamic"].size(), 3U);
  EXPECT_EQ(config["dynamic"]["+:^model\\.layers\\.0\\.self_attn\\.(q_proj|qkv_proj)$"],
            (Json{{"bits", 4}, {"group_size", 128}, {"sym", true}}));
}

TEST_F(GptqRules, ExpertsOfABlockAreAlike) {
  for (LinearSpec& linear : linears_) {
    if (linear.role == LinearRole::kHead) continue;
    linear.expert = linear.role == LinearRole::kDown ? 1 : 0;
  }
  linears_[0].role = linears_[1].role = LinearRole::kGate;
  linears_[0].name = "model.layers.0.mlp.experts.0.gate_proj";
  linears_[1].name = "model.layers.0.mlp.experts.1.gate_proj";
  linears_[1].expert = 1;
  linears_[3].name = "model.layers.0.mlp.experts.1.down_proj";
  EXPECT_TRUE(Violations("vllm").empty());
  resolved_[3].scheme = PackedScheme(8, 128, true);
  for (const std::string_view loader : {"vllm", "sglang"}) {
    const std::vector<Violation> violations = Violations(loader);
    ASSERT_EQ(violations.size(), 1U) << loader;
    EXPECT_EQ(violations[0].where, "model.layers.0.mlp.experts.1.down_proj");
    EXPECT_THAT(violations[0].wanted, testing::HasSubstr("the experts of a block are fused"));
  }
  EXPECT_TRUE(Violations("").empty());
  resolved_[3].scheme.reset();
  EXPECT_EQ(Violations("vllm").size(), 1U);
  // The whole list is looked up, not its parts.
  SetAll(PackedScheme(4, 128, true));
  linears_[2].expert = -1;
  resolved_[2].scheme = PackedScheme(8, 128, true);
  linears_[2].out_features = 8192;
  const Json config = kGptqFormat.config(resolved_, model_);
  EXPECT_TRUE(
      config["dynamic"].contains("+:^model\\.layers\\.0\\.mlp\\.experts(\\.0\\.gate_proj)?$"))
      << config["dynamic"];
}

TEST_F(GptqRules, GroupsThatAreNotOfNeighboursAreForThisFormat) {
  Scheme ordered = PackedScheme(4, 128, true);
  ordered.ordered_groups = true;
  SetAll(ordered);
  for (const std::string_view loader : {"transformers", "sglang"}) {
    EXPECT_TRUE(Violations(loader).empty()) << loader;
  }
  // "GPTQ group activation ordering (desc_act=True) is no longer supported" (vLLM 0.32).
  const std::vector<Violation> refused = Violations("vllm");
  ASSERT_EQ(refused.size(), 4U);
  EXPECT_THAT(refused[0].got, testing::HasSubstr("desc_act"));
  EXPECT_EQ(kGptqFormat.config(resolved_, model_)["desc_act"], true);
  for (const std::string_view name : {"awq", "hqq", "compressed-tensors"}) {
    const absl::Status status = FindFormat(name)->accepts(resolved_, model_, {});
    EXPECT_EQ(ReasonOf(status), Reason::kFormatCannotHold) << name;
    const std::vector<Violation> violations = ViolationsOf(status);
    ASSERT_FALSE(violations.empty()) << name;
    EXPECT_EQ(violations[0].wanted, "groups of neighbours (act_order group-aware), or format gptq");
  }
  // k beside q and v with another order: they are one matrix in the engine.
  resolved_[1].scheme = PackedScheme(4, 128, true);
  EXPECT_EQ(Violations("sglang").size(), 1U);
  const Json config = kGptqFormat.config(resolved_, model_);
  EXPECT_EQ(config["dynamic"]["+:^model\\.layers\\.0\\.self_attn\\.k_proj$"]["desc_act"], false);
}

// SmolLM2's shapes: no multiple of 128, groups of 64 that divide them.
TEST_F(GptqRules, VllmFillsUpWhatIsNoWholeTile) {
  linears_[0].in_features = linears_[1].in_features = linears_[2].in_features = 576;
  linears_[0].out_features = 576;
  linears_[1].out_features = linears_[2].out_features = 192;
  linears_[3].in_features = 1536;
  linears_[3].out_features = 576;
  SetAll(PackedScheme(4, 64, true));
  EXPECT_TRUE(Violations("vllm").empty());
  const std::vector<Violation> refused = Violations("sglang");
  ASSERT_EQ(refused.size(), 3U);
  EXPECT_EQ(refused[0].got, "576 inputs");
  SetAll(PackedScheme(4, 96, true));
  EXPECT_EQ(Violations("vllm").size(), 4U) << "group sizes are the kernel's";
  // The hidden size of experts is not filled up.
  SetAll(PackedScheme(4, 64, true));
  linears_[3].expert = 0;
  ASSERT_EQ(Violations("vllm").size(), 1U);
  EXPECT_EQ(Violations("vllm")[0].got, "576 outputs");
}

TEST_F(GptqRules, ARefusalHasTheReleasesOfTheLoader) {
  SetAll(PackedScheme(3, 128, true));
  const absl::Status status = kGptqFormat.accepts(resolved_, model_, {.name = "vllm"});
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("vllm (0.32 to 0.33)"));
}

TEST_F(GptqRules, SkippedModulesAreNamed) {
  resolved_[3].scheme.reset();
  EXPECT_TRUE(Violations("transformers").empty());
  const Json config = kGptqFormat.config(resolved_, model_);
  EXPECT_EQ(config["dynamic"].size(), 1U);
  EXPECT_TRUE(config["dynamic"].contains("-:^model\\.layers\\.0\\.mlp\\.down_proj$"));
  EXPECT_EQ(config["modules_in_block_to_quantize"][0].size(), 3U);
}

TEST_F(GptqRules, WidthsAndZeroPoints) {
  SetAll(PackedScheme(5, 128, true));
  EXPECT_EQ(Violations("").size(), 4U);
  SetAll(PackedScheme(4, 128, false));
  EXPECT_EQ(Violations("vllm").size(), 4U);
  EXPECT_TRUE(Violations("sglang").empty());
  linears_[3].in_features = 1272;
  SetAll(PackedScheme(4, 0, true));
  EXPECT_EQ(Violations("")[0].got, "[512, 1272]");
}

TEST_F(GptqRules, ThreeBitsZeroPointsOrSeveralWidthsArePlain) {
  SetAll(PackedScheme(4, 128, false));
  kGptqFormat.settle(resolved_, model_);
  EXPECT_EQ(kGptqFormat.config(resolved_, model_)["checkpoint_format"], "gptq_v2");
  SetAll(PackedScheme(4, 128, true));
  resolved_[3].scheme = PackedScheme(8, 128, true);
  kGptqFormat.settle(resolved_, model_);
  EXPECT_EQ(kGptqFormat.config(resolved_, model_)["checkpoint_format"], "gptq_v2");

  resolved_[3].scheme = PackedScheme(3, 128, true);
  resolved_[3].scheme->scale_dtype = DType::kBF16;
  kGptqFormat.settle(resolved_, model_);
  EXPECT_EQ(resolved_[0].scheme->layout, kGptqV2);
  EXPECT_EQ(resolved_[3].scheme->scale_dtype, DType::kF16);
  EXPECT_EQ(kGptqFormat.config(resolved_, model_)["checkpoint_format"], "gptq_v2");
  SetAll(PackedScheme(4, 128, true));
  kGptqFormat.settle(resolved_, model_);
  EXPECT_EQ(kGptqFormat.config(resolved_, model_)["checkpoint_format"], "gptq");
}

}  // namespace
}  // namespace quantd
