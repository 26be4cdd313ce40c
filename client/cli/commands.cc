#include <array>

#include "client/cli/command.h"

namespace quantd {
namespace {

constexpr std::array kGroups = std::to_array<CommandGroup>({
    {"jobs", "Jobs on the server"},
    {"artifacts", "What jobs have made"},
    {"models", "Models that were sent to the server"},
    {"datasets", "Texts that were sent to the server"},
});

constexpr std::array kCommands = std::to_array<CommandRow>({
    {"quantize", "Quantize a model: submit, watch, download", MakeQuantize},
    {"validate", "Check a request and print its plan; nothing is made", MakeValidate},
    {"jobs list", "List jobs, newest first", MakeJobsList},
    {"jobs get", "Show one job in full", MakeJobsGet},
    {"jobs watch", "Follow a job to its end; with --out, download it too", MakeJobsWatch},
    {"jobs cancel", "Stop jobs", MakeJobsCancel},
    {"jobs delete", "Remove finished jobs and their files from the server", MakeJobsDelete},
    {"jobs report", "Show the report of a finished job", MakeJobsReport},
    {"jobs deliveries", "Show what the webhooks of a job were told", MakeJobsDeliveries},
    {"artifacts list", "List the files of a job that are finished so far", MakeArtifactsList},
    {"artifacts get", "Download the files of a job, or one of them", MakeArtifactsGet},
    {"models push", "Send a model to the server; goes on where it was broken off", MakeModelsPush},
    {"models list", "List the models on the server", MakeModelsList},
    {"models delete", "Remove models that no open job uses", MakeModelsDelete},
    {"datasets push", "Send a text to the server", MakeDatasetsPush},
    {"datasets list", "List the texts on the server", MakeDatasetsList},
    {"datasets delete", "Remove texts that no open job uses", MakeDatasetsDelete},
    {"compare", "Set results side by side and mark the best for their size", MakeCompare},
    {"inspect", "Show what is in a model folder or GGUF file, and what is wrong", MakeInspect},
    {"convert", "Write a quantized model in another layout, without loss", MakeConvert},
    {"methods", "List quantization methods, or describe one", MakeMethods},
    {"formats", "List output formats and the engines that load them", MakeFormats},
    {"families", "List model families", MakeFamilies},
    {"workers", "List workers", MakeWorkers},
    {"login", "Keep a token for a server; it is read from --token-file or stdin", MakeLogin},
    {"logout", "Forget the token of a server", MakeLogout},
    {"workers drain", "Let workers end what they run, and leave", MakeWorkersDrain},
    {"version", "Print the versions of this program and of the server", MakeVersion},
    {"completion", "Print a completion script for a shell", MakeCompletion},
});

}  // namespace

std::span<const CommandRow> Commands() { return kCommands; }
std::span<const CommandGroup> CommandGroups() { return kGroups; }

}  // namespace quantd
