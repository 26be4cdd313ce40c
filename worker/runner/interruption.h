// Ctrl-C and SIGTERM as a question that the work asks itself.
#pragma once

namespace quantd {

// From now on the first SIGINT or SIGTERM sets a flag, and the second ends the process at once.
// Also ignores SIGPIPE and SIGXFSZ: a reader that went away and a file-size limit become errors of
// the write. Call once, from main.
void WatchForInterruption();

// Whether SIGINT or SIGTERM has come.
bool Interrupted();

}  // namespace quantd
