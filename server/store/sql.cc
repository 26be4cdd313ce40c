#include "server/store/sql.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"

namespace quantd {

std::optional<absl::Time> SqlStatement::OptionalTime() {
  if (NextIsNull()) {
    Skip();
    return std::nullopt;
  }
  return Time();
}

std::string UpsertSql(std::string_view table, std::initializer_list<std::string_view> keys,
                      std::initializer_list<std::string_view> values) {
  std::vector<std::string> key_names, names, parameters, updates;
  for (const std::string_view key : keys) key_names.emplace_back(key);
  names = key_names;
  for (const std::string_view value : values) {
    names.emplace_back(value);
    updates.push_back(absl::StrCat(ToAbsl(value), " = excluded.", ToAbsl(value)));
  }
  parameters.assign(names.size(), "?");
  return absl::StrCat("INSERT INTO ", ToAbsl(table), " (", absl::StrJoin(names, ", "), ") VALUES (",
                      absl::StrJoin(parameters, ", "), ") ON CONFLICT (",
                      absl::StrJoin(key_names, ", "), ") DO UPDATE SET ",
                      absl::StrJoin(updates, ", "));
}

}  // namespace quantd
