// What nearly every file that speaks gRPC reads, parsed once per build.
#pragma once

#include <chrono>
#include <filesystem>
#include <mutex>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "cmake/precompiled/library_headers.h"
#include "grpcpp/grpcpp.h"
#include "nlohmann/json.hpp"
#include "quantd/v1/quantization_service.grpc.pb.h"
#include "quantd/v1/worker_service.grpc.pb.h"
