#include "base/address.h"

namespace quantd {

bool IsThisMachine(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  // 127.example.org is elsewhere.
  const bool loopback =
      host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
  return loopback || host == "localhost" || host == "[::1]" || address.starts_with("unix:");
}

}  // namespace quantd
