// Where foreign code may throw (an allocation, a library), its exception ends as an error: one call
// fails and not the process.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "base/error.h"

namespace quantd {

// What `work` returns (a Status or a StatusOr); INTERNAL, saying `what` was being done, if it
// throws.
template <typename Work>
std::invoke_result_t<Work> CatchExceptions(std::string_view what, Work&& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kInternal, std::string(what) + ": an allocation failed");
  } catch (const std::exception& error) {
    return MakeError(Reason::kInternal, std::string(what) + ": " + error.what());
  } catch (...) {
    return MakeError(Reason::kInternal, std::string(what) + ": something unknown was thrown");
  }
}

}  // namespace quantd
