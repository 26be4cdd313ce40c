#include "engine/tensor/shard_index.h"

#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "nlohmann/json.hpp"

namespace quantd {
namespace {

constexpr int kMaxDepth = 64;

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\\') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

std::string Shown(const std::string& text) {
  return absl::Utf8SafeCEscape(text.size() > 200 ? text.substr(0, 200) + "..." : text);
}

// Takes the events of the JSON parser (a tree would need quadratic time to find keys that come
// twice). Looks only at the object "weight_map" of the outermost object.
class IndexEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexEvents(const std::string& path) : path_(path) {}

  absl::Status status() const {
    if (!status_.ok() || seen_map_) return status_;
    return Error(path_, "no weight_map", "an object weight_map");
  }
  bool stopped() const { return !status_.ok(); }
  std::map<std::string, std::string, std::less<>> Take() { return std::move(map_); }

  bool start_object(size_t) override {
    ++depth_;
    if (depth_ == 2 && key_ == "weight_map") in_map_ = true;
    if (in_map_ && depth_ > 2) return Refuse("an object", "the name of a file");
    return DepthIsFine();
  }
  bool end_object() override {
    if (depth_ == 2) in_map_ = false;
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    if (!Value("a list")) return false;
    ++depth_;
    return DepthIsFine();
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(std::string& key) override {
    if (depth_ == 1 && key == "weight_map") {
      if (seen_map_) return Refuse("weight_map twice", "it once");
      seen_map_ = true;
    }
    if (depth_ <= 2) key_ = key;
    if (in_map_ && map_.contains(key)) return Refuse("the name twice", "it once");
    return true;
  }
  bool string(std::string& text) override {
    if (!in_map_) return Value("a string");
    if (!IsPlainName(text)) {
      return Refuse("shard " + Shown(text), "the name of a file in the same folder");
    }
    map_.emplace(key_, text);
    return true;
  }
  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("a boolean"); }
  bool number_integer(int64_t) override { return Value("a number"); }
  bool number_unsigned(uint64_t) override { return Value("a number"); }
  bool number_float(double, const std::string&) override { return Value("a number"); }
  bool binary(nlohmann::json::binary_t&) override { return Value("binary"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (status_.ok()) status_ = Error(path_, absl::StrCat("no JSON at byte ", position), "JSON");
    return false;
  }

 private:
  static absl::Status Error(const std::string& where, std::string got, std::string wanted) {
    return MakeError(Reason::kModelCorrupt, "bad index of shards",
                     Violation{.where = where, .got = std::move(got), .wanted = std::move(wanted)});
  }

  bool Refuse(std::string got, std::string wanted) {
    const std::string where = key_.empty() ? path_ : absl::StrCat(path_, ":", Shown(key_));
    if (status_.ok()) status_ = Error(where, std::move(got), std::move(wanted));
    return false;
  }

  bool DepthIsFine() {
    return depth_ <= kMaxDepth ||
           Refuse("deeper nesting", absl::StrCat("at most ", kMaxDepth, " levels"));
  }

  // A value that is not a shard's name: fine outside weight_map.
  bool Value(std::string got) {
    if (depth_ == 0) return Refuse(std::move(got), "an object");
    if (in_map_) return Refuse(std::move(got), "the name of a file");
    if (depth_ == 1 && key_ == "weight_map") return Refuse(std::move(got), "an object");
    return true;
  }

  const std::string& path_;
  int depth_ = 0;
  bool in_map_ = false;
  bool seen_map_ = false;
  std::string key_;
  std::map<std::string, std::string, std::less<>> map_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::map<std::string, std::string, std::less<>>> ParseShardIndex(
    std::string_view json, const std::string& path) {
  IndexEvents events(path);
  // The parser takes a zero byte for the end of the text.
  const bool parsed = json.find('\0') == std::string_view::npos &&
                      nlohmann::json::sax_parse(json.begin(), json.end(), &events);
  if (parsed || events.stopped()) QD_RETURN_IF_ERROR(events.status());
  if (!parsed) {
    return MakeError(Reason::kModelCorrupt, "bad index of shards",
                     Violation{.where = path, .got = "no JSON", .wanted = "JSON"});
  }
  return events.Take();
}

}  // namespace quantd
