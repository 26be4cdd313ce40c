#include "terminal/screen.h"

#include <sys/ioctl.h>

namespace quantd {

int ScreenColumns(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

}  // namespace quantd
