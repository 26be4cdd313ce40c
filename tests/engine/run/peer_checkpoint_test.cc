// The bundled model as the peers themselves save it (tests/golden/make_peer_checkpoints.py), beside
// what is planned here for the same settings: names, types, shapes, configuration.

#include <map>
#include <set>
#include <string>

#include "base/files.h"
#include "engine/format/registry.h"
#include "engine/plan/plan.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using Listing = std::map<std::string, std::pair<std::string, std::vector<int64_t>>>;

Json PeerCheckpoint(const std::string& library) {
  const std::string path = SourcePath("tests/golden/peer_checkpoint_") + library + ".json";
  return *ParseJson(*ReadFile(path, 1 << 20), path);
}

Listing TensorsOf(const Json& peer) {
  Listing listing;
  for (const auto& [name, info] : peer["tensors"].items()) {
    listing[name] = {info[0].get<std::string>(), info[1].get<std::vector<int64_t>>()};
  }
  return listing;
}

// Block 0 and what is outside the blocks.
Listing TensorsOf(const Plan& plan) {
  Listing listing;
  for (const PlannedShard& shard : plan.shards) {
    for (const TensorInfo& tensor : shard.tensors) {
      const bool other_block = tensor.name.find(".layers.") != std::string::npos &&
                               tensor.name.find(".layers.0.") == std::string::npos;
      if (!other_block) listing[tensor.name] = {std::string(NameOf(tensor.dtype)), tensor.shape};
    }
  }
  return listing;
}

struct Peer {
  std::string library, format, recipe;
  // Last parts of names of tensors whose type or length may be another.
  std::set<std::string> other_type;
};

void PrintTo(const Peer& peer, std::ostream* out) { *out << peer.library; }

// Whatever the order of keys.
nlohmann::json Sorted(const Json& json) { return nlohmann::json::parse(DumpJson(json)); }

class LaidOutAs : public ::testing::TestWithParam<Peer> {};

TEST_P(LaidOutAs, IsLaidOutAlike) {
  const Peer& peer = GetParam();
  QuantizeRequest request;
  request.model_folder = SourcePath("models/books-3m");
  request.evaluation.enabled = false;
  request.recipe = *ParseRecipe(peer.recipe);
  request.output.format = peer.format;
  const auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  const Plan& plan = (*planned)->plan;
  const Json theirs = PeerCheckpoint(peer.library);

  const Listing their_tensors = TensorsOf(theirs), our_tensors = TensorsOf(plan);
  std::set<std::string> names;
  for (const auto& [name, info] : their_tensors) names.insert(name);
  for (const auto& [name, info] : our_tensors) names.insert(name);
  for (const std::string& name : names) {
    ASSERT_TRUE(our_tensors.contains(name)) << name << ": only theirs";
    ASSERT_TRUE(their_tensors.contains(name)) << name << ": only ours";
    if (peer.other_type.contains(name.substr(name.rfind('.') + 1))) continue;
    EXPECT_EQ(our_tensors.at(name), their_tensors.at(name)) << name;
  }

  const Json ours = plan.format->config(plan.linears, plan.model);
  for (const auto& [key, value] : theirs["config"].items()) {
    ASSERT_TRUE(ours.contains(key)) << key;
    if (key == "meta") continue;  // who made it, and how
    EXPECT_EQ(Sorted(ours[key]), Sorted(value)) << key;
  }
  for (const auto& [key, value] : ours.items()) {
    EXPECT_TRUE(theirs["config"].contains(key)) << key << ": only ours";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Peers, LaidOutAs,
    ::testing::Values(
        Peer{"gptqmodel", "gptq", "default: {method: gptq, bits: 4, symmetric: true}", {}},
        Peer{"autoawq", "awq", "default: {method: awq, bits: 4, symmetric: false}", {}},
        // transformers computes in float32 unless told otherwise, and scales are of that type.
        Peer{"hqq",
             "hqq",
             "default: {method: hqq, bits: 4, group_size: 64}",
             {"scale", "zero", "compute_dtype"}}),
    [](const auto& info) { return info.param.library; });

}  // namespace
}  // namespace quantd
