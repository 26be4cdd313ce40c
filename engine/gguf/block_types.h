// The element types of GGUF that we read and write, as data.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/tensor/block_type.h"
#include "engine/tensor/dtype.h"

namespace quantd {

// F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K.
std::span<const BlockType> BlockTypes();
// By name ("Q4_K") or by GGML's number; nullptr if there is none.
const BlockType* FindBlockType(std::string_view name);
const BlockType* FindBlockType(uint32_t number);
// How an element of a checkpoint is called in GGUF; nullptr for one that GGUF files of ours do not
// hold.
const BlockType* BlockTypeOf(DType dtype);

}  // namespace quantd
