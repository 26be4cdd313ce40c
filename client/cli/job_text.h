// Jobs and plans as people read them.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <span>
#include <string>
#include <string_view>

#include "quantd/v1/job.pb.h"

namespace quantd {

// "running".
std::string StateText(v1::Job::State state);
// "rtn int4 g128 sym mse"; "16 bit" for a linear that is skipped.
std::string SchemeText(const v1::ResolvedLinear& linear);
// "2026-01-31 14:05:09", local time; "-" when unset.
std::string TimeText(const google::protobuf::Timestamp& time, bool set);
// "jobs/ID" for both "jobs/ID" and "ID".
std::string JobName(std::string_view text);

// One line per job; at most `columns` wide, 0: as wide as it needs to be.
std::string JobTable(std::span<const v1::Job> jobs, int columns = 0);
// Everything about one job.
std::string JobText(const v1::Job& job);
// Sizes, memory, time, and one line per scheme.
std::string PlanText(const v1::Plan& plan);

}  // namespace quantd
