// Small model folders made by hand, in the layouts that other tools write.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/tensor/shard_writer.h"
#include "engine/tensor/tensor.h"
#include "gtest/gtest.h"

namespace quantd {

struct HandMadeTensor {
  TensorInfo info;
  std::vector<std::byte> bytes;
};

// Values narrowed to F16, BF16 or F32.
inline HandMadeTensor Floats(std::string name, DType dtype, std::vector<int64_t> shape,
                             const std::vector<float>& values) {
  HandMadeTensor tensor = {{std::move(name), dtype, std::move(shape)}, {}};
  tensor.bytes.resize(static_cast<size_t>(tensor.info.bytes()));
  NarrowFromF32(values.data(), tensor.info.elements(), dtype, tensor.bytes.data());
  return tensor;
}

inline HandMadeTensor Same(std::string name, DType dtype, std::vector<int64_t> shape,
                           float value = 1) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return Floats(std::move(name), dtype, std::move(shape),
                std::vector<float>(static_cast<size_t>(count), value));
}

template <typename Integer>
HandMadeTensor Integers(std::string name, DType dtype, std::vector<int64_t> shape,
                        const std::vector<Integer>& values) {
  HandMadeTensor tensor = {{std::move(name), dtype, std::move(shape)}, {}};
  tensor.bytes.resize(values.size() * sizeof(Integer));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

// `count` words, all `word`.
inline HandMadeTensor Words(std::string name, std::vector<int64_t> shape, uint32_t word) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return Integers(std::move(name), DType::kI32, std::move(shape),
                  std::vector<uint32_t>(static_cast<size_t>(count), word));
}

// A folder under construction; removed when it goes.
class ModelFolder {
 public:
  ModelFolder() : folder_(*TemporaryFolder::Create("model-folder")) {}

  const std::string& path() const { return folder_.path(); }

  void Text(const std::string& name, const std::string& text) const {
    std::ofstream(path() + "/" + name, std::ios::binary) << text;
  }
  void Config(const Json& config) const { Text("config.json", DumpJsonPretty(config)); }

  void Shard(const std::string& name, const std::vector<HandMadeTensor>& tensors) const {
    std::vector<TensorInfo> infos;
    for (const HandMadeTensor& tensor : tensors) infos.push_back(tensor.info);
    auto writer = ShardWriter::Create(path() + "/" + name, infos, Durability::kNamed);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const absl::Status written = (*writer)->Write(i, 0, tensors[i].bytes);
      ASSERT_TRUE(written.ok()) << tensors[i].info.name << written;
    }
    ASSERT_TRUE((*writer)->Seal().ok());
  }

 private:
  TemporaryFolder folder_;
};

// A model of one block, 128 wide; the linears of `quantized` are left to the caller.
inline Json TinyLlamaConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 128},
          {"intermediate_size", 128},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 4},
          {"vocab_size", 64},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float16"}};
}

inline std::vector<std::string> TinyLlamaLinears() {
  std::vector<std::string> names;
  for (const char* part : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                           "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    names.push_back(std::string("model.layers.0.") + part);
  }
  return names;
}

// What stays in 16 bit.
inline std::vector<HandMadeTensor> TinyLlamaRest() {
  return {Same("model.embed_tokens.weight", DType::kF16, {64, 128}),
          Same("lm_head.weight", DType::kF16, {64, 128}),
          Same("model.norm.weight", DType::kF16, {128}),
          Same("model.layers.0.input_layernorm.weight", DType::kF16, {128}),
          Same("model.layers.0.post_attention_layernorm.weight", DType::kF16, {128})};
}

}  // namespace quantd
