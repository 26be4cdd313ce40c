// The part of the store that knows who may do what: tokens, whose a job is, whose a worker's name
// is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/caller.h"
#include "server/job.h"

namespace quantd {

class AccessReader {
 public:
  virtual ~AccessReader() = default;

  // JOB_NOT_FOUND for a job outside the scope as for one that never was: the same words after the
  // same look-up, so that neither text nor time tells them apart.
  virtual absl::StatusOr<Job> GetJobIn(const TenantScope& scope, std::string_view id) = 0;

  virtual absl::StatusOr<std::optional<Token>> FindToken(std::string_view digest) = 0;
  // In order of creation, with those that are revoked or have expired.
  virtual absl::StatusOr<std::vector<Token>> ListTokens() = 0;
  // Whether one was ever made: a service that has revoked its last token does not fall open.
  virtual absl::StatusOr<bool> HasTokens() = 0;
  virtual absl::StatusOr<std::optional<std::string>> FindWorkerOwner(std::string_view worker) = 0;
};

class AccessWriter {
 public:
  virtual ~AccessWriter() = default;

  // ALREADY_EXISTS if id or digest is taken.
  virtual absl::Status InsertToken(const Token& token) = 0;
  // Keeps the time of a token that was revoked before. False: there is no such token.
  virtual absl::StatusOr<bool> RevokeToken(std::string_view id, absl::Time now) = 0;
  virtual absl::Status NoteTokenUse(std::string_view id, absl::Time now) = 0;
  // Forgotten with the worker (ForgetWorkers).
  virtual absl::Status PutWorkerOwner(std::string_view worker, std::string_view owner) = 0;
};

}  // namespace quantd
