// libFuzzer's way into the reader of GGUF files.
#include "tests/fuzz/gguf_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quantd::FuzzGguf({reinterpret_cast<const char*>(data), size});
  return 0;
}
