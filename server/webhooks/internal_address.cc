#include "server/webhooks/internal_address.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

namespace quantd {
namespace {

struct Range {
  uint32_t first;
  int bits;
};

// The special-purpose blocks of RFC 6890 and its register, host order.
constexpr Range kInternal[] = {
    {0x00000000, 8},   // this network
    {0x0A000000, 8},   // private
    {0x64400000, 10},  // shared, carrier-grade NAT
    {0x7F000000, 8},   // loopback
    {0xA9FE0000, 16},  // link-local
    {0xAC100000, 12},  // private
    {0xC0000000, 24},  // protocol assignments
    {0xC0000200, 24},  // documentation
    {0xC0586300, 24},  // 6to4 relays, gone
    {0xC0A80000, 16},  // private
    {0xC6120000, 15},  // benchmarks
    {0xC6336400, 24},  // documentation
    {0xCB007100, 24},  // documentation
    {0xE0000000, 4},   // multicast
    {0xF0000000, 4},   // reserved, broadcast
};

bool IsInternalV4(uint32_t address) {
  return std::any_of(std::begin(kInternal), std::end(kInternal), [&](const Range& range) {
    return (address ^ range.first) >> (32 - range.bits) == 0;
  });
}

uint32_t V4At(std::span<const uint8_t, 16> bytes, size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 |
         uint32_t{bytes[at + 3]};
}

bool IsInternalV6(std::span<const uint8_t, 16> bytes) {
  const bool zeros =
      std::all_of(bytes.begin(), bytes.begin() + 10, [](uint8_t byte) { return byte == 0; });
  if (zeros) return true;  // unspecified, loopback, and all that carries an address of IPv4
  // What is routed lies in 2000::/3.
  if ((bytes[0] & 0xE0) != 0x20) {
    static constexpr uint8_t kNat64[12] = {0x00, 0x64, 0xFF, 0x9B};
    return !std::equal(std::begin(kNat64), std::end(kNat64), bytes.begin()) ||
           IsInternalV4(V4At(bytes, 12));
  }
  if (bytes[0] == 0x20 && bytes[1] == 0x02) return IsInternalV4(V4At(bytes, 2));  // 6to4
  // Teredo, documentation and their like: 2001::/23, 2001:db8::/32, 3fff::/20.
  if (bytes[0] == 0x20 && bytes[1] == 0x01) {
    return bytes[2] < 2 || (bytes[2] == 0x0D && bytes[3] == 0xB8);
  }
  return bytes[0] == 0x3F && bytes[1] == 0xFF && bytes[2] < 0x10;
}

}  // namespace

bool IsInternalAddress(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    return IsInternalV4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family != AF_INET6) return true;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof(v6));
  return IsInternalV6(std::span<const uint8_t, 16>(v6.sin6_addr.s6_addr));
}

}  // namespace quantd
