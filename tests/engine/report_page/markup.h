// Reads a page as strictly as we write one: every tag closed in order, every attribute quoted.
#pragma once

#include <cctype>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace quantd {

struct Markup {
  std::string error;  // empty: well-formed
  std::map<std::string, int> tags;
  std::set<std::string> attributes;
  std::vector<std::string> cells;  // the text of each <td>, in order
};

class MarkupReader {
 public:
  explicit MarkupReader(std::string_view page) : page_(page) {}

  Markup Read() {
    while (markup_.error.empty() && at_ < page_.size()) {
      const size_t open = page_.find('<', at_);
      Text(page_.substr(at_, open - at_));
      if (open == std::string_view::npos) break;
      at_ = open + 1;
      ReadTag();
    }
    if (markup_.error.empty() && !open_.empty()) markup_.error = "not closed: " + open_.back();
    return markup_;
  }

 private:
  void Text(std::string_view text) {
    if (text.find('>') != std::string_view::npos) Fail("a bare > in a text");
    if (!open_.empty() && open_.back() == "td") markup_.cells.back() += text;
  }
  void Fail(const std::string& what) {
    if (markup_.error.empty())
      markup_.error = what + " before: " + std::string(Rest().substr(0, 80));
  }
  std::string_view Rest() const { return page_.substr(at_); }

  std::string Name() {
    const size_t begin = at_;
    while (at_ < page_.size() &&
           (std::isalnum(static_cast<unsigned char>(page_[at_])) != 0 || page_[at_] == '-')) {
      ++at_;
    }
    return std::string(page_.substr(begin, at_ - begin));
  }

  void ReadTag() {
    if (Rest().starts_with("!DOCTYPE html>")) {
      at_ += 14;
      return;
    }
    const bool closing = Rest().starts_with("/");
    at_ += closing ? 1 : 0;
    const std::string name = Name();
    if (name.empty()) return Fail("a bare <");
    if (closing) {
      if (open_.empty() || open_.back() != name) return Fail("closes what is not open: " + name);
      open_.pop_back();
      if (!Rest().starts_with(">")) return Fail("a closing tag with more");
      ++at_;
      return;
    }
    ++markup_.tags[name];
    while (Rest().starts_with(" ")) ReadAttribute();
    Open(name);
  }

  void ReadAttribute() {
    ++at_;
    const std::string name = Name();
    markup_.attributes.insert(name);
    if (!Rest().starts_with("=\"")) return Fail("an attribute without quotes: " + name);
    const size_t end = page_.find('"', at_ + 2);
    if (end == std::string_view::npos) return Fail("an attribute without an end: " + name);
    if (page_.substr(at_, end - at_).find('<') != std::string_view::npos) {
      return Fail("a bare < in an attribute: " + name);
    }
    at_ = end + 1;
  }

  void Open(const std::string& name) {
    if (Rest().starts_with("/>")) {
      at_ += 2;
      return;
    }
    if (!Rest().starts_with(">")) return Fail("a tag that does not end: " + name);
    ++at_;
    if (name == "meta" || name == "input") return;
    if (name == "script" || name == "style") {  // raw text
      const size_t end = page_.find("</" + name + ">", at_);
      if (end == std::string_view::npos) return Fail("not closed: " + name);
      at_ = end + name.size() + 3;
      return;
    }
    if (name == "td") markup_.cells.emplace_back();
    open_.push_back(name);
  }

  std::string_view page_;
  size_t at_ = 0;
  std::vector<std::string> open_;
  Markup markup_;
};

}  // namespace quantd
