// libFuzzer's way into the reader of requests and recipes.
#include "tests/fuzz/request_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quantd::FuzzRequest({reinterpret_cast<const char*>(data), size});
  return 0;
}
