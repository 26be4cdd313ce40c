// Addresses as people and gRPC write them: "host:port", "[::1]:8470", "unix:/path".
#pragma once

#include <string>

namespace quantd {

// Whether what is sent there stays on this machine.
bool IsThisMachine(const std::string& address);

}  // namespace quantd
