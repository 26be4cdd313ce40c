// Which addresses are of this machine or of the operator's own network.
#pragma once

#include <sys/socket.h>

namespace quantd {

// Whether the address is loopback, private, shared (carrier-grade NAT), link-local (where clouds
// keep their metadata), unique local, multicast, reserved or unspecified, or one of IPv6 that
// carries such an address of IPv4 (mapped, compatible, 6to4, NAT64). Any family but the two of IP
// is.
bool IsInternalAddress(const sockaddr& address);

}  // namespace quantd
