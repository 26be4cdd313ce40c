// Where protobuf meets our own types. Nothing else in quantd knows both.
//
// ToProto never fails. FromProto checks what users send: what comes from outside is refused with
// INVALID_FIELD or UNKNOWN_FIELD and every problem at once, named by its field path
// ("job.spec.recipe.default_scheme.bits"). The engine checks what needs a model.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "engine/types/progress.h"
#include "engine/types/recipe.h"
#include "engine/types/report.h"
#include "engine/types/request.h"
#include "quantd/v1/events.pb.h"
#include "quantd/v1/job.pb.h"
#include "quantd/v1/recipe.pb.h"

namespace quantd {

// The path that violations of a job's spec begin with.
inline constexpr std::string_view kSpecPath = "job.spec";

// A spec with everything said that `request` says; output_folder is the worker's business and is
// left out. Texts named "builtin:NAME" become built-in sources.
v1::JobSpec ToProto(const QuantizeRequest& request);
// The engine's request; output_folder is empty. Sources that are not built yet (uploads, S3, hub)
// are UNIMPLEMENTED. The method is not checked here but against the engine's registry, when the
// plan is made.
absl::StatusOr<QuantizeRequest> FromProto(const v1::JobSpec& spec,
                                          std::string_view path = kSpecPath);

v1::Recipe ToProto(const Recipe& recipe);
absl::StatusOr<Recipe> FromProto(const v1::Recipe& recipe, std::string_view path = "recipe");
// Everything set; number_format where it is a floating one or a block type.
v1::Scheme ToProto(const Scheme& scheme);

v1::Progress ToProto(const ProgressReport& report);
ProgressReport FromProto(const v1::Progress& progress);
v1::LayerReport ToProto(const LayerReport& report);
LayerReport FromProto(const v1::LayerReport& report);
v1::ArtifactFile ToProto(const SealedFile& file);
SealedFile FromProto(const v1::ArtifactFile& file);
v1::Stage ToProto(Stage stage);
// STAGE_UNSPECIFIED and unknown stages are kOpen.
Stage FromProto(v1::Stage stage);

v1::JobResult ToProto(const Report& report);

// BACKEND_KIND_UNSPECIFIED for a name that the API does not have.
v1::BackendKind BackendByName(std::string_view name);
// "any", "cpu", "cuda"; "" for a value that this build does not know.
std::string_view NameOf(v1::BackendKind backend);

// An error as part of a job, and back. `status` must not be OK.
v1::JobError ToProto(const absl::Status& status);
absl::Status FromProto(const v1::JobError& error);

// UNKNOWN_FIELD with the path and number of every field, at any depth, that this build's schema
// does not have.
absl::Status CheckNoUnknownFields(const google::protobuf::Message& message, std::string_view path);

}  // namespace quantd
