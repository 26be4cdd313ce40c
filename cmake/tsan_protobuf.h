// Included before everything else where protobuf is used in a thread-sanitizer build: map_field.h
// gives its class two members more there, which the library, that Debian builds without the
// sanitizer, does not know of. What the sanitizer sees of the standard library stays.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#pragma push_macro("__SANITIZE_THREAD__")
#undef __SANITIZE_THREAD__
#include <google/protobuf/map_field.h>
#pragma pop_macro("__SANITIZE_THREAD__")
