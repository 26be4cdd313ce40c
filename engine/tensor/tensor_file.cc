#include "engine/tensor/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "engine/tensor/interval_set.h"

namespace quantd {
namespace {

// The disk is kept busy while the rest is being made; smaller pieces would be seeks.
constexpr int64_t kWriteback = 16 << 20;
// Bytes that are read back at once to be hashed.
constexpr int64_t kReadBack = 1 << 20;

absl::Status Misuse(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kInternal, "cannot write a file of tensors",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

class PlacedFile : public TensorFile {
 public:
  PlacedFile(AtomicFile file, std::string path, std::vector<TensorPlace> places, int64_t size,
             std::string_view header)
      : file_(std::move(file)),
        path_(std::move(path)),
        places_(std::move(places)),
        size_(size),
        hashed_(static_cast<int64_t>(header.size())) {
    sha_.Update(header);
  }

  // Zeros from the header on where no tensor lies.
  absl::Status FillGaps() {
    std::vector<const TensorPlace*> sorted;
    for (const TensorPlace& place : places_) sorted.push_back(&place);
    const auto before = [](const TensorPlace* a, const TensorPlace* b) {
      return a->begin < b->begin;
    };
    std::sort(sorted.begin(), sorted.end(), before);
    int64_t at = hashed_;
    for (const TensorPlace* place : sorted) {
      QD_RETURN_IF_ERROR(FillGap(at, place->begin));
      at = place->begin + place->bytes;
    }
    return FillGap(at, size_);
  }

  absl::Status Write(size_t index, int64_t offset, std::span<const std::byte> bytes) override {
    QD_RETURN_IF_ERROR(CheckRange(index, offset, static_cast<int64_t>(bytes.size())));
    const TensorPlace& place = places_[index];
    if (place.added == 0) return WriteRows(index, offset, bytes);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    for (float& value : values) value += place.added;
    return WriteRows(index, offset, std::as_bytes(std::span(values)));
  }

  absl::StatusOr<SealedFile> Seal() override {
    const std::lock_guard hashing(hash_mutex_);
    {
      const std::lock_guard lock(ranges_mutex_);
      if (sealed_) return Misuse(path_, "Seal twice", "it once");
      sealed_ = true;
    }
    QD_RETURN_IF_ERROR(HashWritten());
    if (hashed_ != size_) return FirstGap();
    QD_ASSIGN_OR_RETURN(SealedFile sealed, file_.Seal());
    sealed.sha256 = sha_.FinishHex();
    return sealed;
  }

 private:
  absl::Status WriteRows(size_t index, int64_t offset, std::span<const std::byte> bytes) {
    const RowOrder& order = places_[index].order;
    if (order.places.empty() || bytes.empty()) return WriteRange(index, offset, bytes);
    if (offset % order.row_bytes != 0 || std::ssize(bytes) % order.row_bytes != 0) {
      return Misuse(Where(index), absl::StrCat(bytes.size(), " bytes at ", offset),
                    absl::StrCat("rows of ", order.row_bytes));
    }
    // Rows that stay neighbours are written in one go.
    const auto places = std::span(order.places)
                            .subspan(static_cast<size_t>(offset / order.row_bytes),
                                     bytes.size() / static_cast<size_t>(order.row_bytes));
    for (size_t first = 0, last = 0; first < places.size(); first = last) {
      do {
        ++last;
      } while (last < places.size() && places[last] == places[last - 1] + 1);
      const auto row_bytes = static_cast<size_t>(order.row_bytes);
      QD_RETURN_IF_ERROR(WriteRange(index, places[first] * order.row_bytes,
                                    bytes.subspan(first * row_bytes, (last - first) * row_bytes)));
    }
    return absl::OkStatus();
  }

  absl::Status WriteRange(size_t index, int64_t offset, std::span<const std::byte> bytes) {
    const int64_t begin = places_[index].begin + offset;
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

  std::string Where(size_t index) const { return absl::StrCat(path_, ":", places_[index].name); }

  absl::Status CheckRange(size_t index, int64_t offset, int64_t count) const {
    if (index >= places_.size()) {
      return Misuse(path_, absl::StrCat("tensor ", index), absl::StrCat("below ", places_.size()));
    }
    const int64_t size = places_[index].bytes;
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
    for (size_t index = 0; index < places_.size(); ++index) {
      const int64_t within = hashed_ - places_[index].begin;
      if (within < 0 || within >= places_[index].bytes) continue;
      return Misuse(Where(index), absl::StrCat("no byte ", within),
                    absl::StrCat("all ", places_[index].bytes, " bytes"));
    }
    return Misuse(path_, absl::StrCat("no byte ", hashed_), "all bytes");
  }

  absl::Status FillGap(int64_t begin, int64_t end) {
    if (begin == end) return absl::OkStatus();
    if (begin > end || !claimed_.Add(begin, end)) {
      return Misuse(path_, absl::StrCat("a tensor that begins at ", end),
                    absl::StrCat("none before ", begin));
    }
    const std::vector<std::byte> zeros(static_cast<size_t>(end - begin));
    QD_RETURN_IF_ERROR(file_.WriteAt(begin, zeros));
    written_.Add(begin, end);
    return absl::OkStatus();
  }

  AtomicFile file_;
  const std::string path_;
  const std::vector<TensorPlace> places_;
  const int64_t size_;

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

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Create(const std::string& path,
                                                               std::string_view header,
                                                               std::vector<TensorPlace> places,
                                                               int64_t size,
                                                               Durability durability) {
  QD_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, durability));
  QD_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(header.data(), header.size()))));
  auto placed =
      std::make_unique<PlacedFile>(std::move(file), path, std::move(places), size, header);
  QD_RETURN_IF_ERROR(placed->FillGaps());
  return placed;
}

}  // namespace quantd
