#include "client/cli/push.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "terminal/figures.h"
#include "terminal/progress_bar.h"

namespace quantd {
namespace {

// An id out of what the file or folder is called: "Llama-3.2-1B" becomes "llama-3-2-1b".
std::string IdOf(const std::string& path) {
  constexpr size_t kMostCharacters = 63;
  const std::filesystem::path resolved = RealPath(path).value_or(path);
  const std::string stem = IsFolder(path) ? resolved.filename().string() : resolved.stem().string();
  std::string id;
  for (const char c : absl::AsciiStrToLower(stem)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) {
      id.push_back(c);
    } else if (!id.empty() && id.back() != '-') {
      id.push_back('-');
    }
  }
  id.resize(std::min(id.size(), kMostCharacters));
  while (!id.empty() && id.back() == '-') id.pop_back();
  return id;
}

// One line that says how far it is, on terminals alone.
class UploadLine {
 public:
  explicit UploadLine(Session& session)
      : session_(session), shown_(!session.json() && IsTerminal(session.err_descriptor())) {}
  ~UploadLine() {
    if (drawn_) session_.err() << "\r\x1b[K" << std::flush;
  }
  UploadLine(const UploadLine&) = delete;
  UploadLine& operator=(const UploadLine&) = delete;

  void Show(const UploadProgress& progress) {
    const absl::Time now = absl::Now();
    if (!shown_ || now < next_) return;
    next_ = now + absl::Milliseconds(100);
    drawn_ = true;
    const char* verb = progress.step == UploadProgress::Step::kDigest ? "reading" : "sending";
    const int64_t percent = progress.total == 0 ? 100 : progress.done * 100 / progress.total;
    session_.err() << "\r\x1b[K" << verb << " " << percent << " %  " << HumanBytes(progress.done)
                   << " of " << HumanBytes(progress.total) << std::flush;
  }

 private:
  Session& session_;
  const bool shown_;
  bool drawn_ = false;
  absl::Time next_ = absl::InfinitePast();
};

absl::StatusOr<PushedUpload> Send(Session& session, UploadOptions options) {
  UploadLine line(session);
  options.on_progress = [&](const UploadProgress& progress) { line.Show(progress); };
  return PushUpload(session.connection(), std::move(options));
}

}  // namespace

absl::StatusOr<PushedUpload> PushModel(Session& session, const std::string& path,
                                       const std::string& name) {
  std::vector<std::string> left_out;
  UploadOptions options;
  options.name = name.empty() ? "models/" + IdOf(path) : name;
  QD_ASSIGN_OR_RETURN(options.files, ModelFilesToSend(path, left_out));
  if (!left_out.empty() && !session.json()) {
    session.err() << "Left out: " << absl::StrJoin(left_out, ", ") << "\n";
  }
  return Send(session, std::move(options));
}

absl::StatusOr<PushedUpload> PushDataset(Session& session, const std::string& path,
                                         const std::string& name) {
  UploadOptions options;
  options.name = name.empty() ? "datasets/" + IdOf(path) : name;
  QD_ASSIGN_OR_RETURN(options.files, DatasetFileToSend(path));
  return Send(session, std::move(options));
}

}  // namespace quantd
