// What nearly every test reads, parsed once per build.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmake/precompiled/common_headers.h"
