#include "engine/inspect/gguf_inspection.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/gguf/gguf_reader.h"

namespace quantd {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;
// Longer lists (vocabularies) are told by their length.
constexpr size_t kMostListed = 8;

Json ScalarJson(const GgufScalar& scalar) {
  return std::visit([](const auto& value) { return Json(value); }, scalar);
}

Json MetadataJson(const GgufHeader& header) {
  Json json = Json::object();
  for (const auto& [key, value] : header.metadata) {
    if (value.type != GgufType::kArray) {
      json[key] = ScalarJson(value.items.front());
    } else if (value.items.size() > kMostListed) {
      json[key] = absl::StrCat("list of ", value.items.size());
    } else {
      json[key] = Json::array();
      for (const GgufScalar& item : value.items) json[key].push_back(ScalarJson(item));
    }
  }
  return json;
}

std::string TypeName(uint32_t number) {
  const GgufElement* element = FindGgufElement(number);
  return element == nullptr ? absl::StrCat("type ", number) : std::string(element->name);
}

// Types whose elements are codes and not numbers of their own.
bool IsQuantized(uint32_t number) {
  const GgufElement* element = FindGgufElement(number);
  return element == nullptr || element->elements > 1;
}

// "blk.0.attn_q.weight" without the last part.
std::string ModuleName(const std::string& tensor) {
  return tensor.ends_with(".weight") ? tensor.substr(0, tensor.size() - 7) : tensor;
}

void AddTensor(const GgufTensor& tensor, const std::string& file, Inspection* inspection) {
  const std::string type = TypeName(tensor.type);
  const std::vector<int64_t> shape(tensor.dims.rbegin(), tensor.dims.rend());
  inspection->tensors.push_back({tensor.name, type, shape, tensor.bytes, file});
  inspection->bytes += tensor.bytes;
  inspection->parameters += tensor.elements();
  if (tensor.dims.size() < 2) return;
  const int64_t in = tensor.dims[0];
  inspection->modules.push_back({.name = ModuleName(tensor.name),
                                 .scheme = type,
                                 .quantized = IsQuantized(tensor.type),
                                 .out_features = tensor.elements() / in,
                                 .in_features = in,
                                 .bytes = tensor.bytes});
}

void AddBits(Inspection* inspection) {
  int64_t weights = 0, bytes = 0;
  for (const InspectedModule& module : inspection->modules) {
    if (!module.quantized) continue;
    weights += module.parameters();
    bytes += module.bytes;
  }
  const auto bits = [](int64_t size, int64_t count) {
    return count > 0 ? 8.0 * static_cast<double>(size) / static_cast<double>(count) : 0.0;
  };
  inspection->bits_quantized = bits(bytes, weights);
  inspection->bits_overall = bits(inspection->bytes, inspection->parameters);
}

// Decodes every block: NaN or infinity in a scale shows in its weights.
void CheckValues(const RandomAccessFile& file, const GgufTensor& tensor, Findings* findings) {
  const BlockType* type = FindBlockType(tensor.type);
  if (type == nullptr) {
    if (IsQuantized(tensor.type)) {
      findings->Note(tensor.name,
                     absl::StrCat("contents of ", TypeName(tensor.type), " are not looked into"));
    }
    return;
  }
  const int64_t blocks = tensor.bytes / type->bytes;
  const int64_t per_piece = std::max<int64_t>(1, kPieceBytes / type->bytes);
  std::vector<std::byte> bytes;
  std::vector<float> values;
  for (int64_t done = 0; done < blocks; done += per_piece) {
    const int64_t count = std::min(per_piece, blocks - done);
    bytes.resize(static_cast<size_t>(count * type->bytes));
    values.resize(static_cast<size_t>(count * type->elements));
    if (const absl::Status read = file.Read(tensor.offset + done * type->bytes, bytes);
        !read.ok()) {
      findings->Problem(tensor.name, std::string(read.message()));
      return;
    }
    type->decode(*type, bytes.data(), count, values.data());
    const auto finite = [](float value) { return std::isfinite(value); };
    if (std::all_of(values.begin(), values.end(), finite)) continue;
    findings->Problem(tensor.name, "NaN or infinity");
    return;
  }
}

// The tensor, and the size that the metadata give it.
class GgufCheck {
 public:
  GgufCheck(const GgufHeader& header, Findings* findings) : header_(header), findings_(findings) {
    for (const GgufTensor& tensor : header.tensors) names_[tensor.name] = &tensor;
  }

  std::optional<int64_t> Size(const std::string& key) const {
    return header_.Integer(architecture_ + "." + key);
  }

  void Run() {
    architecture_ = header_.String("general.architecture").value_or("");
    if (architecture_.empty()) {
      findings_->Problem("general.architecture", "missing: nothing loads the file");
      return;
    }
    const std::optional<int64_t> hidden = Size("embedding_length"), blocks = Size("block_count");
    for (const char* key : {"embedding_length", "block_count"}) {
      if (!Size(key).has_value()) findings_->Problem(architecture_ + "." + key, "missing");
    }
    const std::optional<int64_t> tokens = header_.Length("tokenizer.ggml.tokens");
    if (!tokens.has_value()) findings_->Note("tokenizer.ggml.tokens", "no tokenizer");
    Expect("token_embd.weight", hidden, tokens);
    Expect("output_norm.weight", hidden, std::nullopt);
    for (int64_t block = 0; block < blocks.value_or(0); ++block) {
      const std::string prefix = absl::StrCat("blk.", block, ".");
      const auto any = [&](const auto& entry) { return entry.first.starts_with(prefix); };
      if (std::none_of(names_.begin(), names_.end(), any)) {
        findings_->Problem(prefix, absl::StrCat("missing: the model has ", *blocks, " blocks"));
        return;  // a count that lies would fill pages
      }
    }
    CheckTokens(tokens);
  }

 private:
  void Expect(const std::string& name, std::optional<int64_t> in, std::optional<int64_t> out) {
    const auto found = names_.find(name);
    if (found == names_.end()) {
      findings_->Problem(name, "missing");
      return;
    }
    const std::vector<int64_t>& dims = found->second->dims;
    if (in.has_value() && dims[0] != *in) {
      findings_->Problem(name, absl::StrCat("rows of ", dims[0], ", the metadata say ", *in));
    }
    if (out.has_value() && (dims.size() < 2 || dims[1] < *out)) {
      findings_->Problem(
          name, absl::StrCat(dims.size() < 2 ? 1 : dims[1], " rows for ", *out, " tokens"));
    }
  }

  void CheckTokens(std::optional<int64_t> tokens) {
    if (!tokens.has_value()) return;
    for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
      const std::optional<int64_t> length = header_.Length(key);
      if (length.has_value() && *length != *tokens) {
        findings_->Problem(key, absl::StrCat(*length, " values for ", *tokens, " tokens"));
      }
    }
    for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) {
      const std::optional<int64_t> id = header_.Integer(key);
      if (id.has_value() && (*id < 0 || *id >= *tokens)) {
        findings_->Problem(key, absl::StrCat(*id, " of ", *tokens, " tokens"));
      }
    }
  }

  const GgufHeader& header_;
  Findings* findings_;
  std::string architecture_;
  std::map<std::string, const GgufTensor*> names_;
};

}  // namespace

absl::Status InspectGguf(const ModelFiles& files, const std::string& name,
                         const InspectOptions& options, Inspection* inspection) {
  Findings* findings = &inspection->findings;
  inspection->kind = "gguf";
  inspection->layout = "gguf";
  QD_ASSIGN_OR_RETURN(const std::vector<GgufPart> parts,
                      OpenGgufParts(files, name, [findings](std::string where, std::string text) {
                        findings->Problem(std::move(where), std::move(text));
                      }));
  for (const GgufPart& part : parts) inspection->files.push_back({part.name, part.file->size()});
  if (parts.empty()) return absl::OkStatus();
  const GgufHeader header = WholeHeader(parts);
  inspection->layout = absl::StrCat("gguf ", header.version);
  inspection->family = header.String("general.architecture").value_or("");
  inspection->config = MetadataJson(header);
  for (const auto& [key, value] : header.metadata) {
    if (key == "tokenizer.ggml.model" || key == "tokenizer.ggml.tokens") {
      inspection->tokenizer.push_back(key);
    }
  }
  for (const GgufPart& part : parts) {
    for (const GgufTensor& tensor : part.header.tensors) {
      AddTensor(tensor, part.name, inspection);
      if (FindGgufElement(tensor.type) == nullptr) {
        findings->Problem(tensor.name, absl::StrCat("element type ", tensor.type, " is not known"));
      }
    }
  }
  AddBits(inspection);
  GgufCheck(header, findings).Run();
  if (!options.loader.empty() && options.loader == "transformers") {
    findings->Note("loader transformers", "widens GGUF to 16 bit on loading");
  }
  if (options.contents == ReadContents::kHeadersOnly) return absl::OkStatus();
  for (const GgufPart& part : parts) {
    for (const GgufTensor& tensor : part.header.tensors) CheckValues(*part.file, tensor, findings);
  }
  return absl::OkStatus();
}

}  // namespace quantd
