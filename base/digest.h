// SHA-256 (FIPS 180-4) of files and messages, CRC-32C (RFC 3720, appendix B.4) of chunks on the
// wire.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quantd {

// Incremental SHA-256. Thread-compatible.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  // Lower-case hex, 64 characters. Call once.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Sha256Hex(std::string_view text);

// CRC-32C of `bytes`, continuing from `crc` (0 to start).
uint32_t Crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);
uint32_t Crc32c(std::string_view text, uint32_t crc = 0);

}  // namespace quantd
