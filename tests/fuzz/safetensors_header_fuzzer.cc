// libFuzzer's way into the reader of safetensors files.
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quantd::FuzzSafetensorsHeader({reinterpret_cast<const char*>(data), size});
  return 0;
}
