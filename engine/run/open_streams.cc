#include "engine/run/open_streams.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/text/windows.h"

namespace quantd {
namespace {

// The windows are run only as far as there are blocks whose statistics are not on file.
absl::Status OpenCalibration(const PlannedQuantization& planned, Pass& pass, OpenedStreams& opened,
                             Report& report) {
  const CalibrationRequest& request = planned.request.calibration;
  SavedStatistics& saved = opened.saved;
  QD_ASSIGN_OR_RETURN(const Text text, CalibrationText(planned));
  QD_ASSIGN_OR_RETURN(const std::string digest, text.Digest());
  QD_ASSIGN_OR_RETURN(
      saved,
      SavedStatistics::Open(planned, {.engine_version = report.engine_version,
                                      .model_fingerprint = report.model_fingerprint,
                                      .compute = std::string(NameOf(pass.compute())),
                                      .sources = {{.digest = digest,
                                                   .samples = request.samples,
                                                   .tokens_per_sample = request.tokens_per_sample,
                                                   .seed = request.seed}}}));
  int64_t tokens = saved.key().tokens();
  if (saved.GoesOnAfter(-1)) {
    QD_ASSIGN_OR_RETURN(opened.streams.calibration, pass.Embed(text, CalibrationWindows(planned)));
    tokens = opened.streams.calibration.windows().total_tokens();
    if (opened.streams.calibration.size() < request.samples) {
      report.warnings.push_back(absl::StrCat(
          "calibration: ", request.text, " fills ", opened.streams.calibration.size(), " of the ",
          request.samples, " windows of ", request.tokens_per_sample, " tokens that are wanted"));
    }
  }
  QD_RETURN_IF_ERROR(saved.Begin(tokens));
  report.calibration_digest = saved.key().digest();
  report.calibration_tokens = tokens;
  report.calibration_seed = saved.key().sources.front().seed;
  if (saved.reads() && saved.missing() > 0) {
    report.warnings.push_back(absl::StrCat("statistics of ", saved.missing(), " of ",
                                           planned.plan.model.blocks.size(),
                                           " blocks are not in the folder; they are gathered"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenedStreams> OpenStreams(const PlannedQuantization& planned, Evaluated evaluated,
                                          const std::shared_ptr<const QuantizedRows>& table,
                                          Pass& pass, Report& report) {
  const QuantizeRequest& request = planned.request;
  OpenedStreams opened;
  Streams& streams = opened.streams;
  if (planned.plan.calibrates) {
    QD_RETURN_IF_ERROR(OpenCalibration(planned, pass, opened, report));
  }
  if (request.evaluation.enabled) {
    QD_ASSIGN_OR_RETURN(const Text text, EvaluationText(planned));
    const WindowOptions windows = EvaluationWindows(planned);
    QD_ASSIGN_OR_RETURN(streams.original, pass.Embed(text, windows));
    QD_ASSIGN_OR_RETURN(report.evaluation_digest, text.Digest());
    if (evaluated == Evaluated::kYes) {
      QD_ASSIGN_OR_RETURN(streams.evaluated, pass.Embed(text, windows, table));
    }
  }
  pass.CloseTokenizer();
  if (!streams.calibration.empty() || !streams.original.empty()) {
    pass.OpenForward(
        std::max(request.calibration.tokens_per_sample, request.evaluation.tokens_per_window));
  }
  return opened;
}

}  // namespace quantd
