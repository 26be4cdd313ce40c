#include "client/cli/inspect_text.h"

#include <fmt/format.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

// Findings beyond this are counted; --json has them all.
constexpr size_t kMostFindings = 20;

std::string Bits(int64_t bytes, int64_t weights) {
  if (weights == 0) return "";
  return fmt::format("{:.2f}", 8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
}

// "2.95 M": weights are counted in powers of 1000, three digits.
std::string HumanCount(int64_t count) {
  static constexpr const char* kUnits[] = {"", " k", " M", " G", " T"};
  auto value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, digits, kUnits[unit]);
}

// Keys of a configuration that are worth a line: plain values.
std::string PlainKeys(const Json& config) {
  std::vector<std::string> keys;
  if (!config.is_object()) return "";
  for (const auto& [key, value] : config.items()) {
    if (value.is_object() || value.is_array() || value.is_null()) continue;
    keys.push_back(
        absl::StrCat(key, "=", value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return absl::StrJoin(keys, ", ");
}

std::string FactTable(const Inspection& inspection, int columns) {
  Table table({{.title = "model"}, {.title = inspection.path}});
  const auto either = [](const std::string& text) { return text.empty() ? "not said" : text; };
  table.Add({"family",
             inspection.architecture.empty()
                 ? either(inspection.family)
                 : absl::StrCat(either(inspection.family), " (", inspection.architecture, ")")});
  table.Add({"layout", inspection.layout});
  table.Add(
      {"weights", absl::StrCat(HumanCount(inspection.parameters), " in ", inspection.tensors.size(),
                               " tensors, ", HumanBytes(inspection.bytes))});
  table.Add({"bits", fmt::format("{}{:.2f} over all",
                                 inspection.bits_quantized > 0
                                     ? fmt::format("{:.3f} per quantized weight, ",
                                                   inspection.bits_quantized)
                                     : "",
                                 inspection.bits_overall)});
  table.Add({"files",
             absl::StrCat(inspection.files.size(), inspection.has_index ? " and an index" : "")});
  table.Add({"tokenizer",
             inspection.tokenizer.empty() ? "none" : absl::StrJoin(inspection.tokenizer, ", ")});
  if (const std::string keys = PlainKeys(inspection.config); !keys.empty()) {
    table.Add({"config", keys});
  }
  return table.Text(columns);
}

// The part of "self_attn.q_proj" that tells it from its neighbours.
std::string LastPart(const std::string& label) {
  const size_t dot = label.rfind('.');
  return dot == std::string::npos ? label : label.substr(dot + 1);
}

// Groups of one scheme and one count become one row.
std::string ModuleTable(const Inspection& inspection, int columns) {
  Table table({{.title = "modules"},
               {.title = "x", .align = Align::kRight},
               {.title = "scheme"},
               {.title = "weights", .align = Align::kRight},
               {.title = "bits", .align = Align::kRight},
               {.title = "size", .align = Align::kRight}});
  std::vector<ModuleGroup> rows;
  for (const ModuleGroup& group : GroupModules(inspection)) {
    ModuleGroup* home = nullptr;
    for (ModuleGroup& row : rows) {
      if (row.scheme == group.scheme && row.count == group.count) home = &row;
    }
    if (home == nullptr) {
      rows.push_back(group);
      rows.back().label = LastPart(group.label);
      continue;
    }
    absl::StrAppend(&home->label, ", ", LastPart(group.label));
    home->parameters += group.parameters;
    home->bytes += group.bytes;
  }
  for (const ModuleGroup& row : rows) {
    table.Add({row.label, absl::StrCat(row.count), row.scheme, HumanCount(row.parameters),
               Bits(row.bytes, row.parameters), HumanBytes(row.bytes)});
  }
  return table.empty() ? "" : table.Text(columns);
}

std::string FindingTable(const char* title, const std::vector<Finding>& findings, int columns) {
  if (findings.empty()) return "";
  Table table({{.title = title}, {.title = ""}});
  for (size_t i = 0; i < findings.size() && i < kMostFindings; ++i) {
    table.Add({findings[i].where, findings[i].text});
  }
  std::string text = "\n" + table.Text(columns);
  if (findings.size() > kMostFindings) {
    absl::StrAppend(&text, "and ", findings.size() - kMostFindings, " more: --json has them all\n");
  }
  return text;
}

}  // namespace

std::string InspectionText(const Inspection& inspection, int columns) {
  std::string text = FactTable(inspection, columns);
  if (const std::string modules = ModuleTable(inspection, columns); !modules.empty()) {
    absl::StrAppend(&text, "\n", modules);
  }
  absl::StrAppend(&text, FindingTable("notes", inspection.findings.notes, columns),
                  FindingTable("problems", inspection.findings.problems, columns));
  absl::StrAppend(&text, "\n",
                  inspection.findings.problems.empty()
                      ? "no problems found"
                      : absl::StrCat("problems found: ", inspection.findings.problems.size()),
                  "\n");
  return text;
}

std::string TensorTable(const Inspection& inspection, int columns) {
  Table table({{.title = "tensor"},
               {.title = "type"},
               {.title = "shape"},
               {.title = "size", .align = Align::kRight}});
  for (const InspectedTensor& tensor : inspection.tensors) {
    table.Add({tensor.name, tensor.type, absl::StrCat("[", absl::StrJoin(tensor.shape, ", "), "]"),
               HumanBytes(tensor.bytes)});
  }
  return table.Text(columns);
}

}  // namespace quantd
