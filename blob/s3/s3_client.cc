#include "blob/s3/s3_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <pugixml.hpp>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "blob/s3/s3_signature.h"

namespace quantd {
namespace {

constexpr size_t kMostIdle = 16;
constexpr long kConnectSeconds = 10;

size_t TakeBody(char* bytes, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(bytes, size * count);
  return size * count;
}

size_t TakeHeader(char* bytes, size_t size, size_t count, void* to) {
  const std::string_view line(bytes, size * count);
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    const std::string name = absl::AsciiStrToLower(ToAbsl(line.substr(0, colon)));
    (*static_cast<std::map<std::string, std::string>*>(to))[name] =
        std::string(absl::StripAsciiWhitespace(ToAbsl(line.substr(colon + 1))));
  }
  return size * count;
}

struct Upload {
  std::string_view left;
};

size_t GiveBody(char* bytes, size_t size, size_t count, void* from) {
  std::string_view& left = static_cast<Upload*>(from)->left;
  const size_t given = std::min(size * count, left.size());
  std::memcpy(bytes, left.data(), given);
  left.remove_prefix(given);
  return given;
}

// "NoSuchBucket: The specified bucket does not exist"
std::string ErrorText(const S3Answer& answer) {
  pugi::xml_document document;
  if (document.load_buffer(answer.body.data(), answer.body.size())) {
    const pugi::xml_node error = document.child("Error");
    if (error) {
      return absl::StrCat(error.child_value("Code"), ": ", error.child_value("Message"));
    }
  }
  return absl::StrCat("HTTP ", answer.status);
}

// The server may answer the same request another time.
bool IsBusy(int status) {
  return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

absl::Status StatusOf(const S3Answer& answer, const std::string& what) {
  if (answer.status >= 200 && answer.status < 300) return absl::OkStatus();
  const std::string text = ErrorText(answer);
  if (answer.status == 404) {
    return MakeError(Reason::kArtifactNotFound, "no such blob",
                     Violation{.where = what, .got = text, .wanted = ""});
  }
  Reason reason = Reason::kIo;
  if (answer.status == 401 || answer.status == 403) reason = Reason::kPermissionDenied;
  if (IsBusy(answer.status)) reason = Reason::kUnavailable;
  return MakeError(reason, "the object store refuses",
                   Violation{.where = what, .got = text, .wanted = "success"});
}

std::string HostOf(const std::string& endpoint) {
  return endpoint.substr(endpoint.find("://") + 3);
}

using Headers = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

Headers HeaderList(const std::map<std::string, std::string>& headers) {
  // No "Expect: 100-continue", which costs a round trip, and not curl's own content type.
  curl_slist* list = curl_slist_append(nullptr, "Expect:");
  list = curl_slist_append(list, "Content-Type:");
  for (const auto& [name, value] : headers) {
    list = curl_slist_append(list, absl::StrCat(name, ": ", value).c_str());
  }
  return {list, &curl_slist_free_all};
}

}  // namespace

S3Client::S3Client(S3Location location, S3RetryOptions options)
    : location_(std::move(location)), options_(options) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

S3Client::~S3Client() {
  for (Handle* handle : idle_) curl_easy_cleanup(handle);
}

S3Client::Handle* S3Client::TakeHandle() {
  absl::MutexLock lock(&mutex_);
  if (idle_.empty()) return curl_easy_init();
  Handle* handle = idle_.back();
  idle_.pop_back();
  return handle;
}

void S3Client::GiveBack(Handle* handle) {
  absl::MutexLock lock(&mutex_);
  if (idle_.size() < kMostIdle) {
    idle_.push_back(handle);
  } else {
    curl_easy_cleanup(handle);
  }
}

absl::StatusOr<S3Answer> S3Client::Send(const S3Call& call) {
  std::mt19937_64 random(std::random_device{}());
  absl::Duration wait = options_.first_wait;
  for (int tried = 1;; ++tried) {
    auto answer = SendOnce(call);
    if (answer.ok() || ReasonOf(answer.status()) != Reason::kUnavailable ||
        tried == options_.tries) {
      return answer;
    }
    absl::SleepFor(wait * std::uniform_real_distribution<double>(0.5, 1.0)(random));
    wait *= 2;
  }
}

absl::StatusOr<S3Answer> S3Client::SendOnce(const S3Call& call) {
  S3Request request{.method = call.method,
                    .host = HostOf(location_.endpoint),
                    .path = absl::StrCat("/", location_.bucket),
                    .query = call.query,
                    .headers = call.headers,
                    .body_sha256 = Sha256Hex(call.body)};
  if (!call.object.empty()) {
    absl::StrAppend(&request.path, "/", location_.prefix, call.object);
  }
  std::map<std::string, std::string> headers = call.headers;
  headers.merge(SignedHeaders(request, location_.keys, location_.region, absl::Now()));
  const Headers list = HeaderList(headers);
  const std::string url = absl::StrCat(location_.endpoint, UriEncoded(request.path, true),
                                       call.query.empty() ? "" : "?" + QueryText(call.query));
  S3Answer answer;
  Upload upload{call.body};
  Handle* handle = TakeHandle();
  curl_easy_reset(handle);
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, list.get());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(absl::ToInt64Seconds(options_.timeout)));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, TakeBody);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, TakeHeader);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &answer.headers);
  if (call.method == "HEAD") curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  if (call.method == "PUT" || call.method == "POST") {
    curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(handle, CURLOPT_READFUNCTION, GiveBody);
    curl_easy_setopt(handle, CURLOPT_READDATA, &upload);
    curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
  }
  const CURLcode code = curl_easy_perform(handle);
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  GiveBack(handle);
  answer.status = static_cast<int>(status);
  const std::string what = absl::StrCat(call.method, " ", request.path);
  if (code != CURLE_OK) {
    return MakeError(Reason::kUnavailable, "the object store does not answer",
                     Violation{.where = what, .got = curl_easy_strerror(code), .wanted = ""});
  }
  QD_RETURN_IF_ERROR(StatusOf(answer, what));
  return answer;
}

}  // namespace quantd
