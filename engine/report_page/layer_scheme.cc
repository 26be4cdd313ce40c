#include "engine/report_page/layer_scheme.h"

#include <fmt/format.h>

namespace quantd {

std::string SchemeText(const LayerReport& layer) {
  const bool integers = !layer.activations.empty() && layer.activations != "none";
  std::string text = fmt::format("{} {}{}", layer.method, integers ? "w" : "int", layer.bits);
  if (integers) text += "a8";
  if (layer.activations == "static") text += " static";
  if (layer.group_size > 0) {
    text += fmt::format(" g{}", layer.group_size);
  } else {
    text += " " + (layer.granularity.empty() ? "channel" : layer.granularity);
  }
  return text + (layer.symmetric ? " sym " : " asym ") + layer.scale_rule;
}

}  // namespace quantd
