#include "client/cli/asked_spec.h"

#include <google/protobuf/message.h>

#include <string_view>

#include "proto/convert.h"

namespace quantd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// A key of the request's JSON and the field of the section's message that stands for it.
struct Key {
  std::string_view section, key;
  const char* field;
};

constexpr Key kKeys[] = {
    {"recipe", "skip", "skip"},
    {"recipe", "propagate", "propagate"},
    {"recipe", "kv_cache", "kv_cache"},
    {"recipe", "rotate", "rotate"},
    {"calibration", "text", "dataset"},
    {"calibration", "text_field", "text_field"},
    {"calibration", "chat_template", "chat_template"},
    {"calibration", "samples", "samples"},
    {"calibration", "tokens_per_sample", "sequence_length"},
    {"calibration", "seed", "seed"},
    {"evaluation", "enabled", "disabled"},
    {"evaluation", "text", "dataset"},
    {"evaluation", "text_field", "text_field"},
    {"evaluation", "chat_template", "chat_template"},
    {"evaluation", "windows", "windows"},
    {"evaluation", "tokens_per_window", "sequence_length"},
    {"evaluation", "logits_windows", "logits_windows"},
    {"evaluation", "analyze", "analyze"},
    {"output", "format", "format"},
    {"output", "loader", "loader"},
    {"output", "tensor_parallel", "tensor_parallel"},
    {"output", "shard_bytes", "shard_bytes"},
    {"resources", "backend", "backend"},
    {"resources", "threads", "threads"},
    {"resources", "max_memory_bytes", "max_memory_bytes"},
    {"resources", "compute", "compute"},
};

bool Says(const Json& said, const Key& key) {
  const auto section = said.find(key.section);
  return section != said.end() && section->contains(key.key);
}

const FieldDescriptor* FieldOf(const Message& message, std::string_view name) {
  return message.GetDescriptor()->FindFieldByName(std::string(name));
}

// Clears a message field that says nothing.
void DropIfEmpty(Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  if (!reflection->HasField(message, field)) return;
  if (reflection->GetMessage(message, field).ByteSizeLong() == 0) {
    reflection->ClearField(&message, field);
  }
}

}  // namespace

v1::JobSpec AskedSpec(const QuantizeRequest& request, const Json& said) {
  v1::JobSpec spec = ToProto(request);
  for (const Key& key : kKeys) {
    if (Says(said, key)) continue;
    Message* section = spec.GetReflection()->MutableMessage(&spec, FieldOf(spec, key.section));
    section->GetReflection()->ClearField(section, FieldOf(*section, key.field));
  }
  v1::Recipe& recipe = *spec.mutable_recipe();
  DropIfEmpty(recipe, FieldOf(recipe, "default_scheme"));
  for (const char* section : {"recipe", "calibration", "evaluation", "output", "resources"}) {
    DropIfEmpty(spec, FieldOf(spec, section));
  }
  return spec;
}

}  // namespace quantd
