// libFuzzer's way into the readers of config.json.
#include "tests/fuzz/config_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quantd::FuzzConfig({reinterpret_cast<const char*>(data), size});
  return 0;
}
