// One plot of the page with its heading and what it shows.
#pragma once

#include <string>
#include <vector>

namespace quantd {

enum class FigureWidth { kHalf, kWhole };  // of the page

struct Figure {
  std::string title;         // HTML
  std::string caption = {};  // HTML
  std::string content = {};  // HTML or SVG; empty: nothing to show, left out
  FigureWidth width = FigureWidth::kHalf;
};

// Those with content, two halves beside each other; a half that would stand alone takes the row.
std::string ArrangeFigures(std::vector<Figure> figures);

}  // namespace quantd
