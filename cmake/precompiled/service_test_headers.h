// What nearly every test of a file that speaks gRPC reads, parsed once per build.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmake/precompiled/service_headers.h"
