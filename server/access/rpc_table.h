// Every rpc, and who may call it. docs/security.md is made from this table, and a test finds an rpc
// of the services that has no row; the code that serves one does not compile without it.
#pragma once

#include <array>
#include <string_view>

#include "server/caller.h"

namespace quantd {

// Whether the audit log tells of a call.
enum class Audit { kNo, kYes };

struct RpcRow {
  std::string_view service;
  std::string_view method;
  Roles roles;  // the caller needs one of them; none: anybody may call, without a token too
  Audit audit = Audit::kNo;
};

inline constexpr std::string_view kUserService = "quantd.v1.QuantizationService";
inline constexpr std::string_view kWorkerService = "quantd.v1.WorkerService";
inline constexpr std::string_view kHealthService = "grpc.health.v1.Health";
inline constexpr std::string_view kReflectionService = "grpc.reflection.v1alpha.ServerReflection";

inline constexpr std::array kRpcs = std::to_array<RpcRow>({
    {kUserService, "GetCapabilities", {Role::kUser, Role::kWorker, Role::kAdmin}},
    {kUserService, "CreateJob", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "GetJob", {Role::kUser, Role::kAdmin}},
    {kUserService, "ListJobs", {Role::kUser, Role::kAdmin}},
    {kUserService, "CancelJob", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "DeleteJob", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "WatchJob", {Role::kUser, Role::kAdmin}},
    {kUserService, "ListArtifactFiles", {Role::kUser, Role::kAdmin}},
    {kUserService, "ReadArtifactFile", {Role::kUser, Role::kAdmin}},
    {kUserService, "CreateUpload", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "GetUpload", {Role::kUser, Role::kAdmin}},
    {kUserService, "WriteUploadFile", {Role::kUser, Role::kAdmin}},
    {kUserService, "CommitUpload", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "ListUploads", {Role::kUser, Role::kAdmin}},
    {kUserService, "DeleteUpload", {Role::kUser, Role::kAdmin}, Audit::kYes},
    {kUserService, "ListWebhookDeliveries", {Role::kUser, Role::kAdmin}},
    {kUserService, "ListWorkers", {Role::kAdmin}},
    {kUserService, "DrainWorker", {Role::kAdmin}, Audit::kYes},
    {kWorkerService, "Synchronize", {Role::kWorker}},
    // gRPC's own: load balancers ask for health without a token, and what reflection tells is in
    // this repository.
    {kHealthService, "Check", {}},
    {kHealthService, "Watch", {}},
    {kReflectionService, "ServerReflectionInfo", {}},
});

// The row of an rpc that is served here. No such row: it does not compile.
consteval const RpcRow& RpcNamed(std::string_view service, std::string_view method) {
  size_t row = 0;
  while (row < kRpcs.size() && (kRpcs[row].service != service || kRpcs[row].method != method))
    ++row;
  return kRpcs.at(row);
}

}  // namespace quantd
