// The form of what names a job, a task, a worker, a tenant, a token.
#pragma once

#include <string>
#include <string_view>

namespace quantd {

// Whether it is ^[a-z0-9][a-z0-9-]{0,62}$.
bool IsId(std::string_view text);

// 16 characters of [a-z2-7]: 80 random bits.
std::string NewId();

}  // namespace quantd
