#include "server/webhooks/http_post.h"

#include <curl/curl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "server/webhooks/internal_address.h"

namespace quantd {
namespace {

// So much of an answer is taken before the connection is closed.
constexpr size_t kMostAnswerBytes = 64 << 10;

struct Call {
  const HttpPost* post;
  const std::atomic<bool>* stopping;
  bool internal = false;
  size_t answered = 0;
};

// The address is the one that the connection is made to.
curl_socket_t OpenSocket(void* call, curlsocktype /*purpose*/, curl_sockaddr* address) {
  Call& state = *static_cast<Call*>(call);
  if (!state.post->allow_internal && IsInternalAddress(address->addr)) {
    state.internal = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// What is answered does not matter; a long answer does not count against it either.
size_t TakeAnswer(char* /*bytes*/, size_t size, size_t count, void* call) {
  Call& state = *static_cast<Call*>(call);
  state.answered += size * count;
  return state.answered > kMostAnswerBytes ? 0 : size * count;
}

int LookWhetherToStop(void* call, curl_off_t /*down_total*/, curl_off_t /*down*/,
                      curl_off_t /*up_total*/, curl_off_t /*up*/) {
  return static_cast<const Call*>(call)->stopping->load() ? 1 : 0;
}

void SetUp(CURL* curl, const HttpPost& post, Call& call, char* error) {
  curl_easy_setopt(curl, CURLOPT_URL, post.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");  // none, whatever the environment says
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(post.time_limit)));
  curl_easy_setopt(curl, CURLOPT_POST, 1L);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post.body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(post.body.size()));
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &call);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, TakeAnswer);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &call);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, LookWhetherToStop);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &call);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
}

PostOutcome OutcomeOf(CURL* curl, CURLcode code, const Call& call, const char* error) {
  PostOutcome outcome;
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  const bool too_long = code == CURLE_WRITE_ERROR && call.answered > kMostAnswerBytes;
  if (code == CURLE_OK || too_long) {
    outcome.status = static_cast<int>(status);
    return outcome;
  }
  if (code == CURLE_ABORTED_BY_CALLBACK) {
    outcome.stopped = true;
    outcome.error = "the server is shutting down";
  } else if (call.internal) {
    outcome.refused_here = true;
    outcome.error = "the host has an internal address, which is not allowed";
  } else {
    outcome.error = error[0] != '\0' ? error : curl_easy_strerror(code);
  }
  return outcome;
}

}  // namespace

PostOutcome Post(const HttpPost& post, const std::atomic<bool>& stopping) {
  static const CURLcode kReady = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(
      kReady == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup);
  if (curl == nullptr) return {.error = "no HTTP client"};
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
  for (const std::string& header : post.headers) {
    // The list that it returns is the one that it was given, unless that was empty.
    curl_slist* longer = curl_slist_append(headers.get(), header.c_str());
    if (longer == nullptr) return {.error = "no memory"};
    if (headers == nullptr) headers.reset(longer);
  }
  char error[CURL_ERROR_SIZE] = "";
  Call call{.post = &post, .stopping = &stopping};
  SetUp(curl.get(), post, call, error);
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  const CURLcode code = curl_easy_perform(curl.get());
  return OutcomeOf(curl.get(), code, call, error);
}

}  // namespace quantd
