// libFuzzer's way into the reader of quantization_config.
#include "tests/fuzz/quantization_config_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quantd::FuzzQuantizationConfig({reinterpret_cast<const char*>(data), size});
  return 0;
}
