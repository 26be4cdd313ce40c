// Linked into every program of a thread-sanitizer build: shows the sanitizer the order that absl's
// locks and gRPC keep.
//
// Debian builds both without the sanitizer, which therefore sees no order between two critical
// sections of an absl::Mutex, or between what is given to gRPC and what comes back on another
// thread, and reports each as a race. These definitions take the place of the libraries', annotate,
// and call the libraries'. Waiting for a condition is done by polling: absl lets the thread that
// unlocks evaluate the conditions of others, which cannot be annotated from outside.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <algorithm>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(1);

using Method = void (*)(absl::Mutex*);
using TryMethod = bool (*)(absl::Mutex*);

template <typename Function>
Function Next(const char* symbol) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, symbol));
}

// The program's own code lies between these (GNU ld).
extern "C" char __executable_start;
extern "C" char etext;

// gRPC hands a call from one of its threads to another by lock-free queues, which cannot be seen
// either, but takes its locks before and after. So what a library does under any lock comes after
// what a library did under any lock before. Our own locks order only what they protect.
char library_order;

bool FromLibrary(const void* caller) { return caller < &__executable_start || caller >= &etext; }

void LockAnnotated(absl::Mutex* mutex, Method real, unsigned flags, const void* caller) {
  __tsan_mutex_pre_lock(mutex, flags);
  real(mutex);
  __tsan_mutex_post_lock(mutex, flags, 0);
  if (FromLibrary(caller)) __tsan_acquire(&library_order);
}

void UnlockAnnotated(absl::Mutex* mutex, Method real, unsigned flags, const void* caller) {
  if (FromLibrary(caller)) __tsan_release(&library_order);
  __tsan_mutex_pre_unlock(mutex, flags);
  real(mutex);
  __tsan_mutex_post_unlock(mutex, flags);
}

bool TryLockAnnotated(absl::Mutex* mutex, TryMethod real, unsigned flags, const void* caller) {
  const unsigned all = flags | __tsan_mutex_try_lock;
  __tsan_mutex_pre_lock(mutex, all);
  const bool locked = real(mutex);
  if (locked && FromLibrary(caller)) __tsan_acquire(&library_order);
  __tsan_mutex_post_lock(mutex, locked ? all : all | __tsan_mutex_try_lock_failed, 0);
  return locked;
}

bool PollUntil(absl::Mutex* mutex, const absl::Condition& condition, absl::Time deadline) {
  while (!condition.Eval()) {
    if (absl::Now() >= deadline) return false;
    mutex->Unlock();
    absl::SleepFor(kPoll);
    mutex->Lock();
  }
  return true;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  if (!FromLibrary(__builtin_return_address(0))) __tsan_mutex_destroy(this, 0);
}

void Mutex::Lock() {
  static const Method real = Next<Method>("_ZN4absl7debian35Mutex4LockEv");
  LockAnnotated(this, real, 0, __builtin_return_address(0));
}

void Mutex::Unlock() {
  static const Method real = Next<Method>("_ZN4absl7debian35Mutex6UnlockEv");
  UnlockAnnotated(this, real, 0, __builtin_return_address(0));
}

bool Mutex::TryLock() {
  static const TryMethod real = Next<TryMethod>("_ZN4absl7debian35Mutex7TryLockEv");
  return TryLockAnnotated(this, real, 0, __builtin_return_address(0));
}

void Mutex::ReaderLock() {
  static const Method real = Next<Method>("_ZN4absl7debian35Mutex10ReaderLockEv");
  LockAnnotated(this, real, __tsan_mutex_read_lock, __builtin_return_address(0));
}

void Mutex::ReaderUnlock() {
  static const Method real = Next<Method>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  UnlockAnnotated(this, real, __tsan_mutex_read_lock, __builtin_return_address(0));
}

void Mutex::Await(const Condition& condition) { PollUntil(this, condition, InfiniteFuture()); }

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return PollUntil(this, condition, Now() + timeout);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return PollUntil(this, condition, deadline);
}

void Mutex::LockWhen(const Condition& condition) {
  Lock();
  PollUntil(this, condition, InfiniteFuture());
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  Lock();
  return PollUntil(this, condition, deadline);
}

// A condition variable may wake without being signalled, so callers look again.
void CondVar::Wait(Mutex* mutex) {
  mutex->Unlock();
  SleepFor(kPoll);
  mutex->Lock();
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  Wait(mutex);
  return Now() >= deadline;
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  mutex->Unlock();
  SleepFor(std::min(timeout, kPoll));
  mutex->Lock();
  return timeout <= kPoll;
}

ABSL_NAMESPACE_END
}  // namespace absl

// The doors between this program and gRPC: what was done before a batch of operations is given to
// it comes before what follows their completion, and what was done to memory before it is given
// back comes before its next use.
extern "C" {

int grpc_call_start_batch(void* call, const void* ops, size_t count, void* tag, void* reserved) {
  using Function = int (*)(void*, const void*, size_t, void*, void*);
  static const auto real = Next<Function>("grpc_call_start_batch");
  __tsan_release(&library_order);
  return real(call, ops, count, tag, reserved);
}

void grpc_call_unref(void* call) {
  static const auto real = Next<void (*)(void*)>("grpc_call_unref");
  __tsan_release(&library_order);
  real(call);
}

void* gpr_malloc(size_t bytes) {
  static const auto real = Next<void* (*)(size_t)>("gpr_malloc");
  __tsan_acquire(&library_order);
  return real(bytes);
}

void gpr_free(void* memory) {
  static const auto real = Next<void (*)(void*)>("gpr_free");
  __tsan_acquire(&library_order);
  __tsan_release(&library_order);
  real(memory);
}
}
