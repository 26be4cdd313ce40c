// What every command works with: where the result goes, where messages go, the server.
#pragma once

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "client/cancellation.h"
#include "client/connection.h"
#include "proto/secure_channel.h"

namespace quantd {

// The flags that every command has.
struct GlobalFlags {
  std::string server;  // empty: QUANTD_SERVER, then the context file, then the default
  bool json = false;
  std::string token_file;  // empty: QUANTD_TOKEN, QUANTD_TOKEN_FILE, what `quantctl login` kept
  std::string tls_ca, tls_cert, tls_key;  // empty: QUANTD_CLIENT_TLS_CA, …, what login kept
  std::string tenant;                     // of admins
  bool insecure = false;
};

struct Streams {
  std::ostream& out;        // the result, and nothing else
  std::ostream& err;        // progress and messages
  int err_descriptor = 2;   // of `err`, for the progress bar; -1: never draw one
  int out_descriptor = -1;  // of `out`, for the width of tables; -1: as wide as they need
};

// The flag > QUANTD_SERVER > `server:` of ~/.config/quantd/config.yaml (or under XDG_CONFIG_HOME) >
// 127.0.0.1:8470. INVALID_FIELD for an address without a port or a context file that cannot be
// read.
absl::StatusOr<std::string> ServerAddress(const std::string& flag);

// How `server` is reached and what is said to it, from flags, environment and what login kept, in
// this order.
absl::StatusOr<ChannelSecurity> SecurityFor(const std::string& server, const GlobalFlags& flags);

// Thread-compatible, but the connection is thread-safe.
class Session {
 public:
  static absl::StatusOr<Session> Create(const GlobalFlags& flags, Streams streams,
                                        Cancellation& cancellation);

  std::ostream& out() { return streams_.out; }
  std::ostream& err() { return streams_.err; }
  int err_descriptor() const { return streams_.err_descriptor; }
  // Of the terminal that out() is; 0: it is none.
  int columns() const;
  bool json() const { return flags_.json; }
  const GlobalFlags& flags() const { return flags_; }
  const ChannelSecurity& security() const { return security_; }
  Connection& connection() { return *connection_; }
  Cancellation& cancellation() { return connection_->cancellation(); }
  // The command line that continues with `rest`, for messages: with --server when it was given.
  std::string CommandLine(std::string_view rest) const;
  // The result as JSON, indented.
  void PrintJson(const Json& json) { out() << DumpJsonPretty(json); }

 private:
  Session(const GlobalFlags& flags, ChannelSecurity security, Streams streams,
          std::unique_ptr<Connection> connection)
      : flags_(flags),
        security_(std::move(security)),
        streams_(streams),
        connection_(std::move(connection)) {}

  GlobalFlags flags_;
  ChannelSecurity security_;
  Streams streams_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace quantd
