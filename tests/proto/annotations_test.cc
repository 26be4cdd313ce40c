// Every field that a user can set says whether it must be, and names of resources say of which.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "google/api/field_behavior.pb.h"
#include "google/api/resource.pb.h"
#include "quantd/v1/quantization_service.pb.h"

namespace quantd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

bool Is(const FieldDescriptor& field, google::api::FieldBehavior wanted) {
  const auto& behaviors = field.options().GetRepeatedExtension(google::api::field_behavior);
  return std::find(behaviors.begin(), behaviors.end(), wanted) != behaviors.end();
}

// Looks at what a request can hold; what only the server sets is not looked into.
void Check(const Descriptor& message, std::set<std::string>& seen) {
  if (!seen.insert(message.full_name()).second) return;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    EXPECT_GT(field.options().ExtensionSize(google::api::field_behavior), 0) << field.full_name();
    const bool of_ours = field.message_type() != nullptr && !field.is_map() &&
                         field.message_type()->file()->package() == "quantd.v1";
    if (of_ours && !Is(field, google::api::OUTPUT_ONLY)) Check(*field.message_type(), seen);
  }
}

TEST(Annotations, EveryFieldOfEveryRequestHasABehavior) {
  const auto* service =
      v1::GetJobRequest::descriptor()->file()->FindServiceByName("QuantizationService");
  ASSERT_NE(service, nullptr);
  std::set<std::string> seen;
  for (int i = 0; i < service->method_count(); ++i) Check(*service->method(i)->input_type(), seen);
  EXPECT_TRUE(seen.contains("quantd.v1.Scheme"));
  EXPECT_FALSE(seen.contains("quantd.v1.Plan"));
}

TEST(Annotations, NamesOfResourcesSayOfWhich) {
  const auto& job = v1::Job::descriptor()->options().GetExtension(google::api::resource);
  EXPECT_EQ(job.type(), "quantd/Job");
  EXPECT_EQ(job.pattern(0), "jobs/{job}");
  EXPECT_TRUE(Is(*v1::Job::descriptor()->FindFieldByName("name"), google::api::IDENTIFIER));
  EXPECT_TRUE(Is(*v1::Job::descriptor()->FindFieldByName("spec"), google::api::IMMUTABLE));
  for (const auto& [message, field] : {std::pair(v1::GetJobRequest::descriptor(), "name"),
                                       std::pair(v1::ReadArtifactFileRequest::descriptor(), "job"),
                                       std::pair(v1::Worker::descriptor(), "job")}) {
    EXPECT_EQ(message->FindFieldByName(field)
                  ->options()
                  .GetExtension(google::api::resource_reference)
                  .type(),
              job.type());
  }
}

}  // namespace
}  // namespace quantd
