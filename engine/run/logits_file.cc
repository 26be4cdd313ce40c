#include "engine/run/logits_file.h"

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/tensor/shard_writer.h"

namespace quantd {

absl::Status WriteLogits(const HeadOfStream& original, const HeadOfStream& quantized,
                         int64_t windows, int64_t vocabulary, ArtifactWriter& artifact) {
  const int64_t tokens = original.stream.windows().tokens_per_window;
  const std::vector<int64_t> shape = {windows, tokens, vocabulary};
  const std::string path = "quantd/logits.safetensors";
  QD_ASSIGN_OR_RETURN(
      const auto writer,
      ShardWriter::Create(artifact.PathOf(path), {{"ids", DType::kI32, {windows, tokens}},
                                                  {"original", DType::kF32, shape},
                                                  {"quantized", DType::kF32, shape}}));
  AlignedBuffer<float> logits(tokens * vocabulary);
  const auto bytes = std::as_bytes(logits.span());
  for (int64_t window = 0; window < windows; ++window) {
    const auto& ids = original.stream.windows().ids[static_cast<size_t>(window)];
    QD_RETURN_IF_ERROR(writer->Write(0, window * tokens * 4, std::as_bytes(std::span(ids))));
    QD_RETURN_IF_ERROR(original.head.Logits(original.stream.window(window), tokens, logits.data()));
    QD_RETURN_IF_ERROR(writer->Write(1, window * static_cast<int64_t>(bytes.size()), bytes));
    QD_RETURN_IF_ERROR(
        quantized.head.Logits(quantized.stream.window(window), tokens, logits.data()));
    QD_RETURN_IF_ERROR(writer->Write(2, window * static_cast<int64_t>(bytes.size()), bytes));
  }
  QD_ASSIGN_OR_RETURN(SealedFile sealed, writer->Seal());
  sealed.path = path;
  return artifact.AddFile(std::move(sealed));
}

}  // namespace quantd
