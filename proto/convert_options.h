// Options of methods on the wire: a field of v1::MethodOptions for each, of the same name.
#pragma once

#include "engine/types/options.h"
#include "quantd/v1/recipe.pb.h"

namespace quantd {

// The fields that are set. A field's type is the option's: bool, int64, double or string.
Options FromProto(const v1::MethodOptions& message);
// An option without a field is left out; a test sees that every method's options have one.
v1::MethodOptions ToProto(const Options& options);

}  // namespace quantd
