// The ONNX node tests of quantization, on every instruction set.
//
// Not here, because quantd has no such operation: 16-bit integers, 8- and 4-bit floats, and Cast to
// INT4/INT2, which truncates and wraps where we round and clamp. MatMulInteger and its kind belong
// to the backend's tests.

#include <cmath>

#include "engine/backend/kernels.h"
#include "gtest/gtest.h"
#include "tests/onnx_tensor.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

std::string CaseFolder(const std::string& data, const std::string& name) {
  return data + "/golden/onnx/test_" + name;
}
OnnxTensor Read(const std::string& folder, const std::string& tensor) {
  return ReadOnnxTensor(folder + "/test_data_set_0/" + tensor + ".pb");
}

// Unsigned codes are signed ones moved up by half their range.
struct CodeType {
  int bits;
  int offset;
};
CodeType CodeTypeOf(OnnxType type) {
  switch (type) {
    case OnnxType::kInt8:
      return {8, 0};
    case OnnxType::kUint8:
      return {8, 128};
    case OnnxType::kInt4:
      return {4, 0};
    case OnnxType::kUint4:
      return {4, 8};
    case OnnxType::kInt2:
      return {2, 0};
    case OnnxType::kUint2:
      return {2, 2};
    default:
      ADD_FAILURE() << "not a code type: " << static_cast<int>(type);
      return {8, 0};
  }
}

// The scale that element `i` of a tensor of shape `dims` has: one for all, one per slice of `axis`,
// or one per block.
size_t ScaleIndex(int64_t i, const std::vector<int64_t>& dims, const OnnxTensor& scale,
                  int64_t axis, int64_t block) {
  if (scale.elements() == 1) return 0;
  if (axis < 0) axis += static_cast<int64_t>(dims.size());
  std::vector<int64_t> at(dims.size());
  for (size_t d = dims.size(); d-- > 0;) {
    at[d] = i % dims[d];
    i /= dims[d];
  }
  if (block == 0) return static_cast<size_t>(at[static_cast<size_t>(axis)]);
  int64_t index = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    index = index * scale.dims[d] + (static_cast<int64_t>(d) == axis ? at[d] / block : at[d]);
  }
  return static_cast<size_t>(index);
}

// Quantizes `real` with the case's scales and zeros and compares with `codes`.
void CompareCodes(const std::string& folder, const OnnxTensor& real, const OnnxTensor& codes,
                  bool has_zero) {
  const OnnxTensor scale = Read(folder, "input_1");
  std::vector<double> zeros(static_cast<size_t>(scale.elements()), 0);
  if (has_zero) zeros = Read(folder, "input_2").values;
  auto attributes = ReadOnnxAttributes(folder + "/model.onnx");
  const auto axis = static_cast<int64_t>(attributes.contains("axis") ? attributes["axis"] : 1);
  const auto block = static_cast<int64_t>(attributes["block_size"]);
  const CodeType type = CodeTypeOf(codes.type);
  ASSERT_EQ(real.values.size(), codes.values.size());
  ASSERT_GT(real.values.size(), 0u);
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (size_t i = 0; i < real.values.size(); ++i) {
      const size_t at = ScaleIndex(static_cast<int64_t>(i), real.dims, scale, axis, block);
      const float value = static_cast<float>(real.values[i]);
      const int zero = static_cast<int>(zeros[at]) - (has_zero ? type.offset : 0);
      int8_t code = 0;
      double weight_energy = 0, error_energy = 0;
      kernels->quantize(&value, 1, static_cast<float>(scale.values[at]), static_cast<int8_t>(zero),
                        type.bits, &code, &weight_energy, &error_energy);
      EXPECT_EQ(code + type.offset, codes.values[i]) << kernels->isa << ", element " << i;
    }
  }
}

TEST(OnnxQuantizeLinear, CodesAgree) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const std::string name :
       {"quantizelinear", "quantizelinear_axis", "quantizelinear_blocked_asymmetric",
        "quantizelinear_int4", "quantizelinear_uint4", "quantizelinear_int2",
        "quantizelinear_uint2"}) {
    SCOPED_TRACE(name);
    const std::string folder = CaseFolder(data, name);
    CompareCodes(folder, Read(folder, "input_0"), Read(folder, "output_0"), true);
  }
}

// What dequantizes to y must quantize back to the same code.
TEST(OnnxDequantizeLinear, ValuesGoBackToTheirCodes) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const std::string name :
       {"dequantizelinear", "dequantizelinear_axis", "dequantizelinear_blocked",
        "dequantizelinear_int4", "dequantizelinear_uint4", "dequantizelinear_int2",
        "dequantizelinear_uint2"}) {
    SCOPED_TRACE(name);
    const std::string folder = CaseFolder(data, name);
    CompareCodes(folder, Read(folder, "output_0"), Read(folder, "input_0"), true);
  }
}

// Min-max with zero in range, 8 bits: our asymmetric absmax rule.
TEST(OnnxDynamicQuantizeLinear, ScaleZeroAndCodesAgree) {
  QD_SHARED_DATA_OR_SKIP(data);
  for (const std::string name : {"dynamicquantizelinear", "dynamicquantizelinear_max_adjusted",
                                 "dynamicquantizelinear_min_adjusted"}) {
    SCOPED_TRACE(name);
    const std::string folder = CaseFolder(data, name);
    const std::vector<float> x = Read(folder, "input_0").As<float>();
    const int64_t count = static_cast<int64_t>(x.size());
    Scheme scheme;
    scheme.bits = 8;
    scheme.symmetric = false;
    scheme.scale_rule = ScaleRule::kAbsmax;
    scheme.scale_dtype = DType::kF32;
    for (const QuantizeKernels* kernels : AllCpuKernels()) {
      float scale = 0;
      int8_t zero = 0;
      kernels->choose_scale(x.data(), nullptr, count, scheme, &scale, &zero);
      EXPECT_EQ(scale, static_cast<float>(Read(folder, "output_1").values[0]));
      EXPECT_EQ(zero + 128, Read(folder, "output_2").values[0]);
      std::vector<int8_t> codes(x.size());
      double weight_energy = 0, error_energy = 0;
      kernels->quantize(x.data(), count, scale, zero, 8, codes.data(), &weight_energy,
                        &error_energy);
      const std::vector<double> wanted = Read(folder, "output_0").values;
      for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i] + 128, wanted[i]) << i;
    }
  }
}

}  // namespace
}  // namespace quantd
