// The tables, as a list of migrations: step N takes a database from version N to N+1. Steps that
// were released are never changed; new ones are added at the end.
#pragma once

#include <span>

namespace quantd {

std::span<const char* const> SqliteMigrations();
std::span<const char* const> PostgresMigrations();

}  // namespace quantd
