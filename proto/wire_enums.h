// Our enums beside the wire's: one table each, read in both directions. What names a value in JSON
// and on command lines is our side's (NameOf).
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "engine/types/recipe.h"
#include "engine/types/request.h"
#include "engine/types/scheme.h"
#include "proto/enum_map.h"
#include "quantd/v1/job.pb.h"
#include "quantd/v1/recipe.pb.h"

namespace quantd {

inline constexpr EnumMap<Granularity, v1::Granularity, 3> kGranularities = {
    {{Granularity::kTensor, v1::GRANULARITY_TENSOR},
     {Granularity::kChannel, v1::GRANULARITY_CHANNEL},
     {Granularity::kGroup, v1::GRANULARITY_GROUP}}};
inline constexpr EnumMap<ScaleRule, v1::ScaleRule, 4> kScaleRules = {
    {{ScaleRule::kAbsmax, v1::SCALE_RULE_ABSMAX},
     {ScaleRule::kMse, v1::SCALE_RULE_MSE},
     {ScaleRule::kWeightedMse, v1::SCALE_RULE_WEIGHTED_MSE},
     {ScaleRule::kHessian, v1::SCALE_RULE_HESSIAN}}};
inline constexpr EnumMap<ActivationScheme, v1::Activations, 3> kActivations = {
    {{ActivationScheme::kNone, v1::ACTIVATIONS_NONE},
     {ActivationScheme::kDynamicToken, v1::ACTIVATIONS_DYNAMIC_TOKEN},
     {ActivationScheme::kStatic, v1::ACTIVATIONS_STATIC}}};
inline constexpr EnumMap<Propagate, v1::Propagate, 2> kPropagates = {
    {{Propagate::kOriginal, v1::PROPAGATE_ORIGINAL},
     {Propagate::kQuantized, v1::PROPAGATE_QUANTIZED}}};
inline constexpr EnumMap<Rotate, v1::Rotate, 2> kRotations = {
    {{Rotate::kNone, v1::ROTATE_NONE}, {Rotate::kHadamard, v1::ROTATE_HADAMARD}}};
inline constexpr EnumMap<KvCache, v1::KvCache, 2> kKvCaches = {
    {{KvCache::kNone, v1::KV_CACHE_NONE}, {KvCache::kFp8, v1::KV_CACHE_FP8}}};
inline constexpr EnumMap<ComputeType, v1::ComputeType, 3> kComputeTypes = {
    {{ComputeType::kAuto, v1::COMPUTE_TYPE_AUTO},
     {ComputeType::kF32, v1::COMPUTE_TYPE_F32},
     {ComputeType::kBF16, v1::COMPUTE_TYPE_BF16}}};
// Backends are an open set of names on our side.
inline constexpr EnumMap<std::string_view, v1::BackendKind, 3> kBackends = {
    {{"any", v1::BACKEND_KIND_ANY},
     {"cpu", v1::BACKEND_KIND_CPU},
     {"cuda", v1::BACKEND_KIND_CUDA}}};

// The wire's value of the one that is named so; the wire's zero if there is none.
template <typename Ours, typename Wire, size_t N>
Wire ToWireByName(const EnumMap<Ours, Wire, N>& map, std::string_view name) {
  for (const auto& [ours, wire] : map) {
    if (NameOf(ours) == name) return wire;
  }
  return Wire{};
}

// The name of our value; "" for one that this build does not know.
template <typename Ours, typename Wire, size_t N>
std::string_view NameFromWire(const EnumMap<Ours, Wire, N>& map, Wire value) {
  const auto ours = FromWire(map, value);
  return ours.has_value() ? NameOf(*ours) : std::string_view();
}

}  // namespace quantd
