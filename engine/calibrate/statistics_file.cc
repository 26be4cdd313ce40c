#include "engine/calibrate/statistics_file.h"

#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {
namespace {

constexpr int64_t kMostInputs = 1 << 16;
constexpr int64_t kWidestExponent = 1100;  // of a bin: wider than any f64

// One tensor to write: where its bytes are.
struct Part {
  TensorInfo info;
  std::span<const std::byte> bytes;
};

template <typename T>
std::span<const std::byte> BytesOf(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

void AddParts(const std::string& prefix, const InputStatistics& input,
              std::span<const int64_t, 2> counts, std::vector<Part>& parts) {
  const int64_t channels = input.channels();
  const auto add = [&](std::string_view name, DType dtype, std::vector<int64_t> shape,
                       std::span<const std::byte> bytes) {
    parts.push_back({{prefix + std::string(name), dtype, std::move(shape)}, bytes});
  };
  add("sum_abs", DType::kF64, {channels}, BytesOf(input.sum_abs));
  add("sum_squares", DType::kF64, {channels}, BytesOf(input.sum_squares));
  add("tokens", DType::kI64, {1}, std::as_bytes(counts.first(1)));
  if (!input.histogram.empty()) {
    add("histogram", DType::kI64, {Histogram::kBins}, BytesOf(input.histogram.counts()));
    add("histogram_exponent", DType::kI64, {1}, std::as_bytes(counts.last(1)));
  }
  add("max_abs", DType::kF32, {channels}, BytesOf(input.max_abs));
  add("min", DType::kF32, {channels}, BytesOf(input.min));
  add("max", DType::kF32, {channels}, BytesOf(input.max));
  const Gram& gram = input.gram;
  if (gram.empty()) return;
  if (gram.whole()) {
    add("gram_lower", DType::kF32, {LowerPanels::ElementsOf(channels)},
        std::as_bytes(gram.values()));
  } else {
    add("gram", DType::kF32, {channels / gram.block, gram.block, gram.block},
        std::as_bytes(gram.values()));
  }
}

// Reads the parts of one input.
class InputReader {
 public:
  using Entries = std::map<std::string, const SafetensorsHeader::Entry*, std::less<>>;
  InputReader(const RandomAccessFile& file, const Entries& parts, const std::string& scratch_folder)
      : file_(file), parts_(parts), scratch_folder_(scratch_folder) {}

  absl::StatusOr<InputStatistics> Read() const {
    const auto sums = parts_.find("sum_abs");
    if (sums == parts_.end() || sums->second->info.shape.size() != 1) {
      return Wrong("sum_abs", "not one dimension", "[channels]");
    }
    InputStatistics input(sums->second->info.shape.front());
    const int64_t channels = input.channels();
    QD_RETURN_IF_ERROR(Fill("sum_abs", DType::kF64, {channels}, std::span(input.sum_abs)));
    QD_RETURN_IF_ERROR(Fill("sum_squares", DType::kF64, {channels}, std::span(input.sum_squares)));
    QD_RETURN_IF_ERROR(Fill("max_abs", DType::kF32, {channels}, std::span(input.max_abs)));
    QD_RETURN_IF_ERROR(Fill("min", DType::kF32, {channels}, std::span(input.min)));
    QD_RETURN_IF_ERROR(Fill("max", DType::kF32, {channels}, std::span(input.max)));
    QD_RETURN_IF_ERROR(Fill("tokens", DType::kI64, {1}, std::span(&input.tokens, 1)));
    if (input.tokens < 0) return Wrong("tokens", absl::StrCat(input.tokens), "at least 0");
    QD_RETURN_IF_ERROR(ReadHistogram(input.histogram));
    QD_RETURN_IF_ERROR(ReadGram(channels, input.gram));
    return input;
  }

 private:
  absl::Status Wrong(std::string_view part, std::string got, std::string wanted) const {
    return MakeError(Reason::kModelCorrupt, "not a file of statistics",
                     Violation{.where = file_.name() + ":" + std::string(part),
                               .got = std::move(got),
                               .wanted = std::move(wanted)});
  }
  template <typename T>
  absl::Status Fill(std::string_view part, DType dtype, const std::vector<int64_t>& shape,
                    std::span<T> to) const {
    const auto found = parts_.find(part);
    if (found == parts_.end()) return Wrong(part, "nothing", "a tensor");
    const TensorInfo& info = found->second->info;
    if (info.dtype != dtype || info.shape != shape) {
      return Wrong(part, "another type or shape", std::string(NameOf(dtype)));
    }
    return file_.Read(found->second->offset, std::as_writable_bytes(to));
  }
  absl::Status ReadHistogram(Histogram& histogram) const {
    if (!parts_.contains("histogram")) return absl::OkStatus();
    std::vector<int64_t> counts(Histogram::kBins);
    int64_t exponent = 0;
    QD_RETURN_IF_ERROR(Fill("histogram", DType::kI64, {Histogram::kBins}, std::span(counts)));
    QD_RETURN_IF_ERROR(
        Fill("histogram_exponent", DType::kI64, {1}, std::span<int64_t>(&exponent, 1)));
    if (std::abs(exponent) > kWidestExponent) {
      return Wrong("histogram_exponent", absl::StrCat(exponent), "a power of two");
    }
    for (const int64_t count : counts) {
      if (count < 0) return Wrong("histogram", absl::StrCat(count), "at least 0");
    }
    histogram = Histogram(static_cast<int>(exponent), std::move(counts));
    return absl::OkStatus();
  }
  absl::Status ReadGram(int64_t channels, Gram& gram) const {
    if (parts_.contains("gram_lower")) {
      QD_ASSIGN_OR_RETURN(gram, Gram::Make(channels, channels, scratch_folder_));
      return Fill("gram_lower", DType::kF32, {LowerPanels::ElementsOf(channels)}, gram.values());
    }
    const auto found = parts_.find("gram");
    if (found == parts_.end()) return absl::OkStatus();
    const std::vector<int64_t>& shape = found->second->info.shape;
    const bool blocks = shape.size() == 3 && shape[2] > 0 && shape[2] < channels;
    if (!blocks || shape[0] * shape[2] != channels) {
      return Wrong("gram", "another shape", "[channels / block, block, block]");
    }
    QD_ASSIGN_OR_RETURN(gram, Gram::Make(channels, shape[2], scratch_folder_));
    return Fill("gram", DType::kF32, {shape[0], shape[2], shape[2]}, gram.values());
  }

  const RandomAccessFile& file_;
  const Entries& parts_;
  const std::string& scratch_folder_;
};

}  // namespace

absl::Status WriteStatistics(const std::string& path, std::span<const InputStatistics> inputs) {
  std::vector<std::array<int64_t, 2>> counts(inputs.size());
  std::vector<Part> parts;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].channels() == 0) continue;
    counts[i] = {inputs[i].tokens, inputs[i].histogram.exponent()};
    AddParts(absl::StrCat("inputs.", i, "."), inputs[i], counts[i], parts);
  }
  std::vector<TensorInfo> tensors;
  for (const Part& part : parts) tensors.push_back(part.info);
  QD_ASSIGN_OR_RETURN(const auto writer, ShardWriter::Create(path, std::move(tensors)));
  for (size_t i = 0; i < parts.size(); ++i) {
    QD_RETURN_IF_ERROR(writer->Write(i, 0, parts[i].bytes));
  }
  return writer->Seal().status();
}

absl::StatusOr<std::vector<InputStatistics>> ReadStatistics(const std::string& path,
                                                            const std::string& scratch_folder) {
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
  QD_ASSIGN_OR_RETURN(const SafetensorsHeader header, ReadSafetensorsHeader(*file));
  std::map<int64_t, InputReader::Entries> by_input;
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    const std::vector<std::string> names = absl::StrSplit(entry.info.name, '.');
    int64_t input = -1;
    const bool known = names.size() == 3 && names[0] == "inputs" &&
                       absl::SimpleAtoi(names[1], &input) && input >= 0 && input < kMostInputs;
    if (!known) {
      return MakeError(
          Reason::kModelCorrupt, "not a file of statistics",
          Violation{.where = path, .got = entry.info.name, .wanted = "inputs.<number>.<part>"});
    }
    by_input[input][names[2]] = &entry;
  }
  std::vector<InputStatistics> inputs;
  for (const auto& [input, parts] : by_input) {
    inputs.resize(static_cast<size_t>(input) + 1);
    QD_ASSIGN_OR_RETURN(inputs.back(), InputReader(*file, parts, scratch_folder).Read());
  }
  return inputs;
}

}  // namespace quantd
