// What survives a run that dies: the results of its blocks, each sealed when it is whole, and the
// activations at the boundary of a block now and then. Of a run that goes on, nothing differs.
//
// A folder of
//   journal.json                    what the run was made of (its fingerprint), written first
//   block-00012.safetensors         the packed tensors of block 12
//   block-00012.rows.safetensors    its transform and rows, where a later block needs them
//   block-00012.json                layers, warnings and the digests of both, written last: with it
//                                   the block is sealed
//   boundary-00013.safetensors      the activations of every stream as they enter block 13
//   boundary-00013.json             their digest
// Files have their names when they are whole; nothing is flushed to the disk: after a loss of power
// what does not match its digest is not used. Layout and reasons: docs/adr/0013.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "base/json.h"
#include "base/threads.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/activations.h"
#include "engine/block/block_result.h"
#include "engine/plan/plan.h"

namespace quantd {

// What must be the same for the results of one run to be those of another: engine, machine class,
// model, what is done to each linear, the files of the artifact, the texts and their windows.
// Threads, memory and the output's place are not in it. Errors: those of reading the texts.
absl::StatusOr<Json> JournalFingerprint(const PlannedQuantization& planned,
                                        std::string_view engine_version, std::string_view isa,
                                        std::string_view compute);

// The packed tensors of one block on their way into a journal and, where there is one, into the
// artifact beside it.
class BlockFile : public PackedTensors {
 public:
  const TensorInfo* Planned(std::string_view name) const override;
  absl::Status Write(std::string_view name, int64_t offset,
                     std::span<const std::byte> bytes) override;

 private:
  friend class Journal;
  BlockFile(ThreadPool& pool, PackedTensors* beside) : PackedTensors(pool), beside_(beside) {}

  PackedTensors* beside_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::unique_ptr<TensorFile> file_;
};

class Journal {
 public:
  // A new one in `folder`, which is made; the journal that was there goes.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(const std::string& folder,
                                                         const Json& fingerprint);
  // What is in `folders`, the first of which takes what follows. A journal of another run is
  // refused, with what differs: INVALID_FIELD. A block or boundary that is not whole, or does not
  // match its digest, is not there. A first folder without journal.json is a new journal. Cost:
  // reads all of it, on `pool`.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::vector<std::string>& folders,
                                                       const Json& fingerprint, ThreadPool& pool);
  // Whether there is one.
  static bool IsIn(const std::string& folder);
  // Removes one that holds nothing worth going on from: no sealed block, no choice of a recipe.
  static absl::Status RemoveIfEmpty(const std::string& folder);

  bool Has(int64_t block) const { return blocks_.contains(block); }
  // The first block in [first, last) that is not sealed; `last` if all are.
  int64_t FirstMissing(int64_t first, int64_t last) const;

  // `tensors`: BlockTensors of the plan. Writes go to `beside` too, unless it is null.
  absl::StatusOr<std::unique_ptr<BlockFile>> Begin(int64_t block, std::vector<TensorInfo> tensors,
                                                   PackedTensors* beside, ThreadPool& pool);
  absl::Status Seal(const BlockResult& result, BlockFile& file, ThreadPool& pool);
  // Of a sealed block.
  absl::StatusOr<BlockResult> Read(int64_t block, const PlannedQuantization& planned,
                                   ThreadPool& pool) const;
  absl::Status CopyTensors(int64_t block, PackedTensors& to) const;

  // The activations that enter block `block`, of every stream that is not empty.
  absl::Status SaveBoundary(int64_t block, const Streams& streams, ThreadPool& pool);
  absl::Status DropBoundariesBefore(int64_t block);
  // The last block in [first, last] whose boundary is there, of just the `streams` that are not
  // empty; nothing if none is.
  std::optional<int64_t> LastBoundary(int64_t first, int64_t last, const Streams& streams) const;
  // Into streams that were embedded from the same windows. MODEL_CORRUPT if they were not.
  absl::Status ReadBoundary(int64_t block, Streams& streams, ThreadPool& pool) const;

  // Removes its files, and its folders if they hold nothing else.
  absl::Status Remove();

 private:
  struct Sealed {
    std::string folder;
    Json record;
  };
  absl::Status ReadFolder(const std::string& folder, ThreadPool& pool);

  std::vector<std::string> folders_;
  std::map<int64_t, Sealed> blocks_, boundaries_;
};

}  // namespace quantd
