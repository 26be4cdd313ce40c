#include "engine/tensor/shard_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/tensor/interval_set.h"

namespace quantd {
namespace {

constexpr int64_t kAlignment = 64;
// The disk is kept busy while the rest is being made; smaller pieces would be seeks.
constexpr int64_t kWriteback = 16 << 20;
// Bytes that are read back at once to be hashed.
constexpr int64_t kReadBack = 1 << 20;

absl::Status Misuse(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kInternal, "cannot write a shard",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

// Where every tensor lies within the data section.
struct Layout {
  std::vector<size_t> order;     // indices of the tensors as they lie in the file
  std::vector<int64_t> offsets;  // by index of the tensor
  int64_t bytes = 0;
};

// Places the tensors one after the other in `order`; whether each starts at a multiple of its
// element size.
bool Place(const std::vector<TensorInfo>& tensors, Layout& layout) {
  bool aligned = true;
  layout.offsets.resize(tensors.size());
  layout.bytes = 0;
  for (const size_t index : layout.order) {
    aligned = aligned && layout.bytes % SizeOf(tensors[index].dtype) == 0;
    layout.offsets[index] = layout.bytes;
    layout.bytes += tensors[index].bytes();
  }
  return aligned;
}

// The tensors keep their order, so that bytes that come in order are hashed as they come. Only if
// one would lie across its alignment, which readers that map the file refuse, do the tensors with
// larger elements go first.
Layout MakeLayout(const std::vector<TensorInfo>& tensors) {
  Layout layout;
  layout.order.resize(tensors.size());
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  if (Place(tensors, layout)) return layout;
  std::sort(layout.order.begin(), layout.order.end(), [&](size_t a, size_t b) {
    const int64_t size_a = SizeOf(tensors[a].dtype);
    const int64_t size_b = SizeOf(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : a < b;
  });
  Place(tensors, layout);
  return layout;
}

absl::Status CheckTensors(const std::string& path, const std::vector<TensorInfo>& tensors) {
  std::set<std::string_view> names;
  int64_t total = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::string where = absl::StrCat(path, ":", tensor.name);
    if (!names.insert(tensor.name).second) return Misuse(where, "the name twice", "it once");
    if (tensor.name == "__metadata__") return Misuse(where, "a reserved name", "another");
    const auto elements = CheckedProduct(tensor.shape);
    const auto bytes = elements ? CheckedMultiply(*elements, SizeOf(tensor.dtype)) : std::nullopt;
    const auto sum = bytes ? CheckedAdd(total, *bytes) : std::nullopt;
    if (!sum) {
      return Misuse(where, absl::StrCat("shape [", absl::StrJoin(tensor.shape, ", "), "]"),
                    "sizes that fit a file");
    }
    total = *sum;
  }
  return absl::OkStatus();
}

// The length and the JSON, padded with spaces so that the data starts at a multiple of 64.
std::string MakeHeader(const std::vector<TensorInfo>& tensors, const Layout& layout) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  for (const size_t index : layout.order) {
    const TensorInfo& tensor = tensors[index];
    const int64_t begin = layout.offsets[index];
    absl::StrAppend(&json, ",", DumpJson(Json(tensor.name)), R"(:{"dtype":")",
                    ToAbsl(NameOf(tensor.dtype)), R"(","shape":[)",
                    absl::StrJoin(tensor.shape, ","), R"(],"data_offsets":[)", begin, ",",
                    begin + tensor.bytes(), "]}");
  }
  json += "}";
  const auto size = static_cast<int64_t>(json.size());
  json.append(static_cast<size_t>(DivideRoundingUp(8 + size, kAlignment) * kAlignment - 8 - size),
              ' ');
  static_assert(std::endian::native == std::endian::little);
  const uint64_t length = json.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, sizeof(length));
  return header + json;
}

class FileShardWriter : public ShardWriter {
 public:
  FileShardWriter(AtomicFile file, std::string path, std::vector<TensorInfo> tensors, Layout layout,
                  std::string_view header)
      : file_(std::move(file)),
        path_(std::move(path)),
        tensors_(std::move(tensors)),
        layout_(std::move(layout)),
        data_begin_(static_cast<int64_t>(header.size())),
        hashed_(data_begin_) {
    sha_.Update(header);
  }

  absl::Status Write(size_t index, int64_t offset, std::span<const std::byte> bytes) override {
    QD_RETURN_IF_ERROR(CheckRange(index, offset, static_cast<int64_t>(bytes.size())));
    const int64_t begin = data_begin_ + layout_.offsets[index] + offset;
    const int64_t end = begin + static_cast<int64_t>(bytes.size());
    {
      const std::lock_guard lock(ranges_mutex_);
      if (sealed_ || !claimed_.Add(begin, end)) {
        return Misuse(Where(index), absl::StrCat("bytes ", offset, " to ", offset + end - begin),
                      sealed_ ? "no bytes after Seal" : "each byte once");
      }
    }
    QD_RETURN_IF_ERROR(file_.WriteAt(begin, bytes));
    {
      const std::lock_guard lock(ranges_mutex_);
      written_.Add(begin, end);
    }
    // Whoever gets the lock hashes for all; the others go on with their work.
    const std::unique_lock hashing(hash_mutex_, std::try_to_lock);
    if (!hashing.owns_lock()) return absl::OkStatus();
    if (begin == hashed_) {
      sha_.Update(bytes);
      hashed_ = end;
    }
    return HashWritten();
  }

  absl::StatusOr<SealedFile> Seal() override {
    const std::lock_guard hashing(hash_mutex_);
    {
      const std::lock_guard lock(ranges_mutex_);
      if (sealed_) return Misuse(path_, "Seal twice", "it once");
      sealed_ = true;
    }
    QD_RETURN_IF_ERROR(HashWritten());
    if (hashed_ != data_begin_ + layout_.bytes) return FirstGap();
    QD_ASSIGN_OR_RETURN(SealedFile sealed, file_.Seal());
    sealed.sha256 = sha_.FinishHex();
    return sealed;
  }

 private:
  std::string Where(size_t index) const { return absl::StrCat(path_, ":", tensors_[index].name); }

  absl::Status CheckRange(size_t index, int64_t offset, int64_t count) const {
    if (index >= tensors_.size()) {
      return Misuse(path_, absl::StrCat("tensor ", index), absl::StrCat("below ", tensors_.size()));
    }
    const int64_t size = tensors_[index].bytes();
    if (offset >= 0 && offset <= size && count <= size - offset) return absl::OkStatus();
    return Misuse(Where(index), absl::StrCat(count, " bytes at ", offset),
                  absl::StrCat("bytes within 0 to ", size));
  }

  // Hashes what lies behind the frontier without a gap, from the page cache. hash_mutex_ is held.
  absl::Status HashWritten() {
    while (true) {
      int64_t end = 0;
      {
        const std::lock_guard lock(ranges_mutex_);
        end = written_.EndFrom(hashed_);
      }
      if (end == hashed_) break;
      if (read_back_.empty()) read_back_.resize(kReadBack);
      while (hashed_ < end) {
        const int64_t size = std::min(end - hashed_, kReadBack);
        const auto piece = std::span(read_back_).first(static_cast<size_t>(size));
        QD_RETURN_IF_ERROR(file_.ReadAt(hashed_, piece));
        sha_.Update(piece);
        hashed_ += size;
      }
    }
    if (hashed_ - sent_ >= kWriteback) {
      file_.StartWriteback(sent_, hashed_ - sent_);
      sent_ = hashed_;
    }
    return absl::OkStatus();
  }

  absl::Status FirstGap() const {
    const int64_t missing = hashed_ - data_begin_;
    for (const size_t index : layout_.order) {
      const int64_t within = missing - layout_.offsets[index];
      if (within < 0 || within >= tensors_[index].bytes()) continue;
      return Misuse(Where(index), absl::StrCat("no byte ", within),
                    absl::StrCat("all ", tensors_[index].bytes(), " bytes"));
    }
    return Misuse(path_, absl::StrCat("no byte ", missing), "all bytes");
  }

  AtomicFile file_;
  const std::string path_;
  const std::vector<TensorInfo> tensors_;
  const Layout layout_;
  const int64_t data_begin_;

  std::mutex ranges_mutex_;  // taken after hash_mutex_ where both are
  IntervalSet claimed_;      // handed to a writer
  IntervalSet written_;      // in the file
  bool sealed_ = false;

  std::mutex hash_mutex_;
  Sha256 sha_;
  int64_t hashed_;    // the frontier: bytes of the file in sha_
  int64_t sent_ = 0;  // bytes of the file that are on their way to the disk
  std::vector<std::byte> read_back_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Create(const std::string& path,
                                                                 std::vector<TensorInfo> tensors,
                                                                 Durability durability) {
  QD_RETURN_IF_ERROR(CheckTensors(path, tensors));
  Layout layout = MakeLayout(tensors);
  const std::string header = MakeHeader(tensors, layout);
  QD_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, durability));
  QD_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(header.data(), header.size()))));
  return std::make_unique<FileShardWriter>(std::move(file), path, std::move(tensors),
                                           std::move(layout), header);
}

}  // namespace quantd
