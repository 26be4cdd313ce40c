// What nearly every test reads, parsed once per build.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmake/precompiled/library_headers.h"
