// The operations against the ONNX backend node tests.
//
// Not applicable, because the backend has no such operation: interleaved rotary embeddings
// (test_rotary_embedding_interleaved, _no_position_ids_interleaved, _with_interleaved_rotary_dim)
// and QLinearMatMul (requantizes its output; the quantized products here end in f32).
#include <map>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/every_backend.h"
#include "tests/engine/backend/random_values.h"
#include "tests/onnx_tensor.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

class OnnxTest : public EveryBackend {};
QD_EVERY_BACKEND(OnnxTest);

struct OnnxCase {
  std::map<std::string, double> attributes;
  std::vector<OnnxTensor> inputs;
  OnnxTensor output;
};

OnnxCase ReadCase(const std::string& data, const std::string& name, int inputs) {
  const std::string folder = data + "/golden/onnx/" + name;
  OnnxCase read;
  read.attributes = ReadOnnxAttributes(folder + "/model.onnx");
  for (int i = 0; i < inputs; ++i) {
    read.inputs.push_back(
        ReadOnnxTensor(folder + "/test_data_set_0/input_" + std::to_string(i) + ".pb"));
  }
  read.output = ReadOnnxTensor(folder + "/test_data_set_0/output_0.pb");
  return read;
}

void ExpectClose(const std::vector<float>& got, const OnnxTensor& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.values.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted.values[i], tolerance) << i;
}

TEST_P(OnnxTest, RmsNormalization) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const char* name : {"test_rms_normalization_2d_axis_negative_1",
                           "test_rms_normalization_3d_axis_negative_1_epsilon",
                           "test_rms_normalization_4d_axis_negative_1"}) {
    OnnxCase test = ReadCase(data, name, 2);
    const double epsilon = test.attributes.contains("epsilon") ? test.attributes["epsilon"] : 1e-5;
    const std::vector<float> x = test.inputs[0].As<float>(), gain = test.inputs[1].As<float>();
    std::vector<float> y(x.size());
    const int64_t width = test.inputs[1].elements();
    backend().RmsNorm(x.data(), gain.data(), test.inputs[0].elements() / width, width,
                      static_cast<float>(epsilon), y.data());
    ExpectClose(y, test.output, 1e-6);
  }
}

// x is [batch, heads, tokens, d], or [batch, tokens, heads * d]. The caches hold a row per
// position, chosen by input 3, or without it a row per token.
void CheckRotary(Backend& backend, const OnnxCase& read, bool has_positions) {
  OnnxCase test = read;
  const std::vector<int64_t>& dims = test.inputs[0].dims;
  const bool flat = dims.size() == 3;
  const int64_t batch = dims[0],
                heads = flat ? static_cast<int64_t>(test.attributes["num_heads"]) : dims[1];
  const int64_t tokens = flat ? dims[1] : dims[2], d = flat ? dims[2] / heads : dims[3];
  const int64_t half = test.inputs[1].dims.back();
  const std::vector<double>& x = test.inputs[0].values;
  const auto index = [&](int64_t b, int64_t t, int64_t h, int64_t i) {
    return static_cast<size_t>(flat ? ((b * tokens + t) * heads + h) * d + i
                                    : ((b * heads + h) * tokens + t) * d + i);
  };
  std::vector<float> got(x.size());
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<float> rows, cos, sin;  // rows: [tokens, heads, d]
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < d; ++i) rows.push_back(static_cast<float>(x[index(b, t, h, i)]));
      }
      const auto token = static_cast<size_t>(b * tokens + t);
      const auto row = has_positions ? static_cast<int64_t>(test.inputs[3].values[token])
                                     : static_cast<int64_t>(token);
      for (int64_t i = 0; i < half; ++i) {
        cos.push_back(
            static_cast<float>(test.inputs[1].values[static_cast<size_t>(row * half + i)]));
        sin.push_back(
            static_cast<float>(test.inputs[2].values[static_cast<size_t>(row * half + i)]));
      }
    }
    backend.Rope(rows.data(), tokens, heads, d, half, cos.data(), sin.data());
    size_t at = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < d; ++i) got[index(b, t, h, i)] = rows[at++];
      }
    }
  }
  ExpectClose(got, test.output, 1e-6);
}

TEST_P(OnnxTest, RotaryEmbedding) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const char* name : {"test_rotary_embedding", "test_rotary_embedding_3d_input",
                           "test_rotary_embedding_with_rotary_dim"}) {
    CheckRotary(backend(), ReadCase(data, name, 4), true);
  }
  for (const char* name : {"test_rotary_embedding_no_position_ids",
                           "test_rotary_embedding_no_position_ids_rotary_dim"}) {
    CheckRotary(backend(), ReadCase(data, name, 3), false);
  }
}

// One batch entry as our operation takes it. Query i stands at position positions[i] of a window as
// long as the keys, so it sees the keys up to there.
std::vector<float> Attend(Backend& backend, const OnnxCase& test, int64_t batch,
                          const std::vector<int64_t>& positions) {
  const std::vector<int64_t>&q = test.inputs[0].dims, &k = test.inputs[1].dims;
  const int64_t heads = q[1], queries = q[2], d = q[3], kv_heads = k[1], keys = k[2];
  const AttentionShape shape{.tokens = keys,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = d,
                             .window = 0,
                             .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)))};
  const auto transposed = [&](const OnnxTensor& tensor,
                              int64_t count) {  // [heads, keys, d] -> [keys, heads, d]
    std::vector<float> out;
    for (int64_t t = 0; t < keys; ++t) {
      for (int64_t h = 0; h < count; ++h) {
        for (int64_t i = 0; i < d; ++i) {
          out.push_back(static_cast<float>(
              tensor.values[static_cast<size_t>(((batch * count + h) * keys + t) * d + i)]));
        }
      }
    }
    return out;
  };
  const std::vector<float> key = transposed(test.inputs[1], kv_heads),
                           value = transposed(test.inputs[2], kv_heads);
  std::vector<float> result(static_cast<size_t>(heads * queries * d));
  for (int64_t query = 0; query < queries; ++query) {
    std::vector<float> rows(static_cast<size_t>(keys * heads * d), 0.25F), out(rows.size());
    const int64_t position = positions[static_cast<size_t>(query)];
    const auto from = [&](int64_t h, int64_t i) {
      return static_cast<size_t>((h * queries + query) * d + i);
    };
    const auto to = [&](int64_t h, int64_t i) {
      return static_cast<size_t>((position * heads + h) * d + i);
    };
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < d; ++i) {
        rows[to(h, i)] = static_cast<float>(
            test.inputs[0].values[static_cast<size_t>(batch * heads * queries * d) + from(h, i)]);
      }
    }
    EXPECT_TRUE(
        backend
            .Attention(rows.data(), key.data(), value.data(), shape, ComputeType::kF32, out.data())
            .ok());
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < d; ++i) result[from(h, i)] = out[to(h, i)];
    }
  }
  return result;
}

void CheckAttention(Backend& backend, const OnnxCase& test, const std::vector<int64_t>& positions) {
  std::vector<float> got;
  for (int64_t batch = 0; batch < test.inputs[0].dims[0]; ++batch) {
    const std::vector<float> part = Attend(backend, test, batch, positions);
    got.insert(got.end(), part.begin(), part.end());
  }
  ExpectClose(got, test.output, 1e-6);
}

TEST_P(OnnxTest, AttentionCausal) {
  QD_SHARED_DATA_OR_SKIP(data);
  CheckAttention(backend(), ReadCase(data, "test_attention_4d_causal", 3), {0, 1, 2, 3});
}

// Not causal: every query stands at the end.
TEST_P(OnnxTest, AttentionGroupedQuery) {
  QD_SHARED_DATA_OR_SKIP(data);
  CheckAttention(backend(), ReadCase(data, "test_attention_4d_gqa", 3), {5, 5, 5, 5});
}

// u8 x u8 with zero points: A goes in as the tokens, B as the weight shifted to int8. The scales
// are 1, so the sums come out as they are. A token's codes are its values when one of them is 127
// in size, which a zero-padded column supplies.
TEST_P(OnnxTest, MatMulInteger) {
  QD_SHARED_DATA_OR_SKIP(data);
  const OnnxCase test = ReadCase(data, "test_matmulinteger", 4);
  const int64_t rows = test.inputs[0].dims[0], k = test.inputs[0].dims[1],
                n = test.inputs[1].dims[1];
  const double zero_a = test.inputs[2].values[0], zero_b = test.inputs[3].values[0];
  std::vector<float> x;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) {
      x.push_back(
          static_cast<float>(test.inputs[0].values[static_cast<size_t>(r * k + i)] - zero_a));
    }
    x.push_back(127.0F);
  }
  QuantizedRows weight = EmptyRows(n, k + 1, 1);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < k; ++i) {
      weight.codes.push_back(
          static_cast<int8_t>(test.inputs[1].values[static_cast<size_t>(i * n + j)] - 128));
    }
    weight.codes.push_back(
        static_cast<int8_t>(zero_b - 128));  // minus the zero point: no part in the sum
  }
  weight.scales.assign(static_cast<size_t>(n), 1.0F);
  weight.zeros.assign(static_cast<size_t>(n), static_cast<int8_t>(zero_b - 128));
  const Scheme scheme = DynamicTokenScheme();
  const auto prepared = backend().PrepareQuantized(weight, scheme, ComputeType::kF32);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  std::vector<float> y(static_cast<size_t>(rows * n));
  ASSERT_TRUE(backend().MatMul(x.data(), rows, **prepared, nullptr, y.data()).ok());
  ExpectClose(y, test.output, 0);
}

}  // namespace
}  // namespace quantd
