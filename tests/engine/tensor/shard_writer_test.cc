// Shards: the same bytes whatever the order and the number of writers, and no gap.
#include "engine/tensor/shard_writer.h"

#include <algorithm>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/interval_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/tensor/safetensors_file.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ShardWriterTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  TemporaryFolder folder_ = *TemporaryFolder::Create("shard-writer-test");
};

struct Piece {
  size_t tensor;
  int64_t offset;
  std::string bytes;
};

std::vector<TensorInfo> SomeTensors() {
  return {{"w.packed", DType::kI32, {700, 300}},
          {"empty", DType::kF32, {0, 3}},
          {"w.scale", DType::kBF16, {700, 10}},
          {"scalar", DType::kI16, {}},
          {"\"quoted\"\n", DType::kU8, {99'999}}};
}

// All bytes of the tensors, cut at random places.
std::vector<Piece> RandomPieces(const std::vector<TensorInfo>& tensors, std::mt19937& random) {
  std::vector<Piece> pieces;
  for (size_t index = 0; index < tensors.size(); ++index) {
    const int64_t size = tensors[index].bytes();
    for (int64_t offset = 0; offset < size;) {
      const int64_t count = std::min<int64_t>(size - offset, 1 + random() % 50'000);
      std::string bytes(static_cast<size_t>(count), '\0');
      for (int64_t i = 0; i < count; ++i) {
        bytes[static_cast<size_t>(i)] =
            static_cast<char>((offset + i) * 31 + static_cast<int64_t>(index));
      }
      pieces.push_back({index, offset, std::move(bytes)});
      offset += count;
    }
  }
  return pieces;
}

absl::StatusOr<SealedFile> WriteShard(const std::string& path, int threads, uint32_t seed) {
  const std::vector<TensorInfo> tensors = SomeTensors();
  std::mt19937 random(seed);
  std::vector<Piece> pieces = RandomPieces(tensors, random);
  if (seed != 0) std::shuffle(pieces.begin(), pieces.end(), random);
  QD_ASSIGN_OR_RETURN(const auto writer, ShardWriter::Create(path, tensors));
  std::vector<std::thread> workers;
  for (int worker = 0; worker < threads; ++worker) {
    workers.emplace_back([&, worker] {
      for (size_t i = static_cast<size_t>(worker); i < pieces.size();
           i += static_cast<size_t>(threads)) {
        const Piece& piece = pieces[i];
        EXPECT_TRUE(writer->Write(piece.tensor, piece.offset, BytesOf(piece.bytes)).ok());
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return writer->Seal();
}

TEST_F(ShardWriterTest, GivesTheSameFileForAnyOrderAndThreads) {
  std::string first;
  for (const int threads : {1, 2, 7}) {
    for (const uint32_t seed : {0u, 1u, 2u, 3u}) {
      const auto sealed = WriteShard(Path("model.safetensors"), threads, seed);
      ASSERT_TRUE(sealed.ok()) << sealed.status();
      const std::string bytes = *ReadFile(sealed->path, 1 << 30);
      EXPECT_EQ(sealed->bytes, static_cast<int64_t>(bytes.size()));
      EXPECT_EQ(sealed->sha256, Sha256Hex(bytes));
      if (first.empty()) first = bytes;
      ASSERT_TRUE(bytes == first) << threads << " threads, seed " << seed;
    }
  }
}

TEST_F(ShardWriterTest, IsReadBackByTheCheckpoint) {
  ASSERT_TRUE(WriteShard(Path("model.safetensors"), 2, 5).ok());
  const auto file = RandomAccessFile::Open(Path("model.safetensors"));
  const auto header = ReadSafetensorsHeader(**file);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->entries.front().offset % 64, 0);
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const TensorInfo& tensor : SomeTensors()) {
    ASSERT_NE(checkpoint->Find(tensor.name), nullptr) << tensor.name;
    EXPECT_EQ(*checkpoint->Find(tensor.name), tensor);
  }
  const auto scale = checkpoint->Read("w.scale");
  EXPECT_EQ(scale->bytes.data()[10], static_cast<std::byte>((10 * 31 + 2) % 256));
}

TEST_F(ShardWriterTest, KeepsTheOrderUnlessATensorWouldBeMisaligned) {
  const auto order = [&](std::vector<TensorInfo> tensors) {
    const auto writer = ShardWriter::Create(Path("s"), tensors);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::string bytes(static_cast<size_t>(tensors[i].bytes()), 'x');
      EXPECT_TRUE((*writer)->Write(i, 0, BytesOf(bytes)).ok());
    }
    EXPECT_TRUE((*writer)->Seal().ok());
    const auto header = ReadSafetensorsHeader(**RandomAccessFile::Open(Path("s")));
    std::string names;
    for (const auto& entry : header->entries) {
      EXPECT_EQ(entry.offset % SizeOf(entry.info.dtype), 0);
      names += entry.info.name;
    }
    return names;
  };
  EXPECT_EQ(order({{"a", DType::kI8, {4}}, {"b", DType::kF32, {1}}}), "ab");
  EXPECT_EQ(order({{"a", DType::kI8, {3}}, {"b", DType::kF16, {1}}, {"c", DType::kF32, {1}}}),
            "cba");
}

TEST_F(ShardWriterTest, RefusesGaps) {
  auto writer = ShardWriter::Create(Path("s"), {{"a", DType::kI8, {10}}, {"b", DType::kI8, {10}}});
  const std::string bytes(10, 'x');
  ASSERT_TRUE((*writer)->Write(1, 0, BytesOf(bytes)).ok());
  ASSERT_TRUE((*writer)->Write(0, 0, BytesOf(bytes).first(4)).ok());
  const auto sealed = (*writer)->Seal();
  ASSERT_FALSE(sealed.ok());
  EXPECT_THAT(std::string(sealed.status().message()), HasSubstr("s:a: got no byte 4"));
  writer->reset();
  EXPECT_THAT(*ListFolder(folder_.path()), IsEmpty());
}

TEST_F(ShardWriterTest, RefusesBytesTwiceAndOutside) {
  const auto writer = ShardWriter::Create(Path("s"), {{"a", DType::kI8, {10}}});
  const std::string bytes(20, 'x');
  EXPECT_FALSE((*writer)->Write(0, 0, BytesOf(bytes).first(11)).ok());
  EXPECT_FALSE((*writer)->Write(0, -1, BytesOf(bytes).first(2)).ok());
  EXPECT_FALSE((*writer)->Write(0, INT64_MAX, BytesOf(bytes).first(2)).ok());
  EXPECT_FALSE((*writer)->Write(1, 0, BytesOf(bytes).first(1)).ok());
  ASSERT_TRUE((*writer)->Write(0, 0, BytesOf(bytes).first(10)).ok());
  EXPECT_FALSE((*writer)->Write(0, 9, BytesOf(bytes).first(1)).ok());
  ASSERT_TRUE((*writer)->Seal().ok());
  EXPECT_FALSE((*writer)->Seal().ok());
}

TEST_F(ShardWriterTest, RefusesTensorsThatCannotBe) {
  EXPECT_FALSE(
      ShardWriter::Create(Path("s"), {{"a", DType::kI8, {1}}, {"a", DType::kI8, {1}}}).ok());
  EXPECT_FALSE(ShardWriter::Create(Path("s"), {{"a", DType::kI8, {-1}}}).ok());
  EXPECT_FALSE(ShardWriter::Create(Path("s"), {{"a", DType::kF32, {INT64_MAX}}}).ok());
  EXPECT_FALSE(ShardWriter::Create(Path("s"), {{"__metadata__", DType::kI8, {1}}}).ok());
  EXPECT_FALSE(ShardWriter::Create(Path("absent/s"), {{"a", DType::kI8, {1}}}).ok());
}

TEST_F(ShardWriterTest, AFileWithoutTensorsIsAFile) {
  const auto writer = ShardWriter::Create(Path("s"), {});
  ASSERT_TRUE((*writer)->Seal().ok());
  EXPECT_TRUE(ReadSafetensorsHeader(**RandomAccessFile::Open(Path("s"))).ok());
}

TEST(IntervalSetTest, MergesAndRefusesOverlaps) {
  IntervalSet set;
  EXPECT_EQ(set.EndFrom(0), 0);
  EXPECT_TRUE(set.Add(10, 20));
  EXPECT_TRUE(set.Add(30, 40));
  EXPECT_FALSE(set.Add(15, 16));
  EXPECT_FALSE(set.Add(5, 11));
  EXPECT_FALSE(set.Add(19, 25));
  EXPECT_FALSE(set.Add(5, 50));
  EXPECT_TRUE(set.Add(5, 5));
  EXPECT_TRUE(set.Add(20, 30));
  EXPECT_EQ(set.EndFrom(10), 40);
  EXPECT_EQ(set.EndFrom(39), 40);
  EXPECT_EQ(set.EndFrom(40), 40);
  EXPECT_EQ(set.EndFrom(9), 9);
}

}  // namespace
}  // namespace quantd
