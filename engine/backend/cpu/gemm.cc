#include "engine/backend/cpu/gemm.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/backend/cpu/workspace.h"

// Of libgomp, which oneDNN runs on; the header would ask for a compiler flag that turns pragmas on.
extern "C" void omp_set_num_threads(int threads);

namespace quantd {
namespace {

using dnnl::memory;

struct Types {
  memory::data_type left, right, result;
};

Types TypesOf(GemmType type) {
  switch (type) {
    case GemmType::kF32:
      return {memory::data_type::f32, memory::data_type::f32, memory::data_type::f32};
    case GemmType::kBF16:
      return {memory::data_type::bf16, memory::data_type::bf16, memory::data_type::f32};
    case GemmType::kS8:
      break;
  }
  return {memory::data_type::s8, memory::data_type::s8, memory::data_type::s32};
}

dnnl::engine& Engine() {
  static auto* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

// The calling thread's stream. The first call makes oneDNN run on this thread alone, before any
// primitive is built: a primitive remembers the number of threads it was built for.
dnnl::stream& Stream() {
  thread_local dnnl::stream stream = [] {
    omp_set_num_threads(1);
    return dnnl::stream(Engine());
  }();
  return stream;
}

memory::desc RightDesc(const GemmShape& shape, memory::data_type type) {
  const memory::dims dims = {shape.k, shape.n};
  switch (shape.right) {
    case GemmRight::kPlain:
      return {dims, type, memory::dims{shape.ldb, 1}};
    case GemmRight::kTransposed:
      return {dims, type, memory::dims{1, shape.ldb}};
    case GemmRight::kPacked:
      break;
  }
  // The layout must be the same for every m that the weight will meet, so it is chosen for one.
  constexpr int64_t kTypicalRows = 512;
  const Types types = TypesOf(shape.type);
  const dnnl::matmul::desc desc({{kTypicalRows, shape.k}, types.left, memory::format_tag::ab},
                                {dims, type, memory::format_tag::any},
                                {{kTypicalRows, shape.n}, types.result, memory::format_tag::ab});
  return dnnl::matmul::primitive_desc(desc, Engine()).weights_desc();
}

// A primitive with its arguments, ready to be given addresses.
struct Primitive {
  explicit Primitive(const dnnl::matmul::primitive_desc& desc)
      : primitive(desc),
        a(desc.src_desc(), Engine(), nullptr),
        b(desc.weights_desc(), Engine(), nullptr),
        c(desc.dst_desc(), Engine(), nullptr),
        scratch(desc.scratchpad_desc(), Engine(), nullptr),
        scratch_bytes(static_cast<int64_t>(desc.scratchpad_desc().get_size())) {}
  dnnl::matmul primitive;
  memory a, b, c, scratch, bias;
  int64_t scratch_bytes;
};

std::unique_ptr<Primitive> MakePrimitive(const GemmShape& shape) {
  const Types types = TypesOf(shape.type);
  const memory::desc a({shape.m, shape.k}, types.left, memory::dims{shape.lda, 1});
  const memory::desc b = RightDesc(shape, types.right);
  const memory::desc c({shape.m, shape.n}, types.result, memory::dims{shape.ldc, 1});
  const memory::desc bias({1, shape.n}, memory::data_type::f32, memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto desc =
      shape.has_bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c);
  auto product =
      std::make_unique<Primitive>(dnnl::matmul::primitive_desc(desc, attributes, Engine()));
  if (shape.has_bias) product->bias = memory(bias, Engine(), nullptr);
  return product;
}

// The calling thread's products. Windows have one length, so there are few; the bound is for odd
// callers.
Primitive& FindPrimitive(const GemmShape& shape) {
  constexpr size_t kMostProducts = 512;
  thread_local std::map<GemmShape, std::unique_ptr<Primitive>> products;
  if (const auto found = products.find(shape); found != products.end()) return *found->second;
  if (products.size() >= kMostProducts) products.clear();
  return *products.emplace(shape, MakePrimitive(shape)).first->second;
}

absl::Status DnnlError(const dnnl::error& error, const GemmShape& shape) {
  const std::string what =
      absl::StrCat("oneDNN: ", error.message, " (", shape.m, " x ", shape.n, " x ", shape.k, ")");
  return MakeError(error.status == dnnl_unimplemented ? Reason::kUnavailable : Reason::kInternal,
                   what);
}

}  // namespace

absl::Status Gemm(const GemmShape& shape, const void* a, const void* b, const float* bias,
                  void* c) {
  try {
    dnnl::stream& stream = Stream();
    Primitive& product = FindPrimitive(shape);
    product.a.set_data_handle(const_cast<void*>(a));
    product.b.set_data_handle(const_cast<void*>(b));
    product.c.set_data_handle(c);
    product.scratch.set_data_handle(
        Workspace<std::byte>(Scratch::kPrimitive, product.scratch_bytes));
    dnnl_exec_arg_t arguments[5] = {{DNNL_ARG_SRC, product.a.get()},
                                    {DNNL_ARG_WEIGHTS, product.b.get()},
                                    {DNNL_ARG_DST, product.c.get()},
                                    {DNNL_ARG_SCRATCHPAD, product.scratch.get()},
                                    {}};
    int count = 4;
    if (shape.has_bias) {
      product.bias.set_data_handle(const_cast<float*>(bias));
      arguments[count++] = {DNNL_ARG_BIAS, product.bias.get()};
    }
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(product.primitive.get(), stream.get(), count, arguments),
        "could not run a matrix product");
  } catch (const dnnl::error& error) {
    return DnnlError(error, shape);
  }
  return absl::OkStatus();
}

absl::Status Product(const ProductShape& shape, const float* a, const float* b, float* c) {
  Stream();  // so that oneDNN stays on this thread
  const dnnl_status_t status =
      dnnl_sgemm(shape.transpose_a ? 'T' : 'N', shape.transpose_b ? 'T' : 'N', shape.m, shape.n,
                 shape.k, shape.alpha, a, shape.lda, b, shape.ldb, shape.beta, c, shape.ldc);
  if (status == dnnl_success) return absl::OkStatus();
  return MakeError(Reason::kInternal,
                   absl::StrCat("oneDNN could not multiply m=", shape.m, " n=", shape.n,
                                " k=", shape.k, ": status ", static_cast<int>(status)));
}

absl::StatusOr<PackedRight> PackedRight::Make(GemmType type, const void* weight,
                                              memory::data_type from, int64_t n, int64_t k,
                                              int64_t stride) {
  const GemmShape shape{.type = type, .right = GemmRight::kPacked, .n = n, .k = k};
  try {
    dnnl::stream& stream = Stream();
    memory source({{k, n}, from, memory::dims{1, stride}}, Engine(), const_cast<void*>(weight));
    PackedRight packed;
    packed.memory_ = memory(RightDesc(shape, TypesOf(type).right), Engine());
    dnnl::reorder(source, packed.memory_).execute(stream, source, packed.memory_);
    stream.wait();
    return packed;
  } catch (const dnnl::error& error) {
    return DnnlError(error, shape);
  }
}

bool HasExactInt8() {
  // Every set from AVX-512 VNNI on multiplies with 32-bit sums. The order of the enum is not the
  // order of features.
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  return isa == dnnl::cpu_isa::avx512_core_vnni || isa == dnnl::cpu_isa::avx512_core_bf16 ||
         HasFastBf16();
}

bool HasFastBf16() { return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx; }

}  // namespace quantd
