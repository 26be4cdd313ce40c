// Options of methods on the wire: a map of name to google.protobuf.Value, which knows one kind of
// number.
#pragma once

#include <google/protobuf/map.h>
#include <google/protobuf/struct.pb.h>

#include <string>

#include "engine/types/options.h"
#include "proto/field_checks.h"

namespace quantd {

using OptionMap = google::protobuf::Map<std::string, google::protobuf::Value>;

// A whole number becomes an integer, which is good for an option of type float too. Anything but a
// boolean, a finite number or a text is noted in `checks` as "options.NAME".
Options FromProto(const OptionMap& options, FieldChecks& checks);
// Integers above 2^53 lose their last bits: no option has a range that wide.
OptionMap ToProto(const Options& options);
google::protobuf::Value ToProto(const OptionValue& value);

}  // namespace quantd
