// The parts that the page is made of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/report_page/axis.h"
#include "engine/report_page/figure.h"
#include "engine/report_page/layer_grid.h"
#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(Axis, EndsAtRoundNumbers) {
  const Axis linear = Axis::Covering(std::vector<double>{19.6, 21.3}, AxisScale::kLinear, 0, 100);
  EXPECT_THAT(linear.ticks(),
              ElementsAre(DoubleNear(19.5, 1e-9), DoubleNear(20, 1e-9), DoubleNear(20.5, 1e-9),
                          DoubleNear(21, 1e-9), DoubleNear(21.5, 1e-9)));
  EXPECT_EQ(linear.TickText(linear.ticks()[0]), "19.5");
  EXPECT_NEAR(linear.At(20.5), 50, 1e-9);
  const Axis log = Axis::Covering(std::vector<double>{3, 11, NAN}, AxisScale::kLog, 100, 0);
  EXPECT_THAT(log.ticks(), ElementsAre(2, 5, 10, 20));
  EXPECT_NEAR(log.At(2), 100, 1e-9);
  EXPECT_NEAR(log.At(20), 0, 1e-9);
  EXPECT_NEAR(log.At(std::sqrt(40.0)), 50, 1e-9);
  EXPECT_FALSE(log.Shows(0));
}

TEST(Axis, OneValueOrNone) {
  for (const AxisScale scale : {AxisScale::kLinear, AxisScale::kLog}) {
    for (const std::vector<double>& values :
         {std::vector<double>{}, {NAN}, {7.0}, {7.0, 7.0}, {0.0}, {-3.0}}) {
      const Axis axis = Axis::Covering(values, scale, 0, 100);
      ASSERT_GE(axis.ticks().size(), 2U);
      EXPECT_LT(axis.ticks().front(), axis.ticks().back());
      EXPECT_TRUE(std::isfinite(axis.At(7)));
    }
  }
}

TEST(LayerGrid, KnowsBlocksAndRoles) {
  EXPECT_EQ(PlaceOf("model.layers.12.mlp.down_proj")->block, 12);
  EXPECT_EQ(PlaceOf("model.layers.12.mlp.down_proj")->role, "down");
  EXPECT_EQ(PlaceOf("model.layers.3.mlp.experts.7.up_proj")->block, 3);
  for (const char* name : {"lm_head", "", "7", "model.layers", "model.layers.-1.q_proj",
                           "model.layers.99999999999999999999.q_proj"}) {
    EXPECT_FALSE(PlaceOf(name).has_value()) << name;
  }
}

TEST(LayerGrid, OrdersRolesAsTheForwardPassAndKeepsGaps) {
  Report report;
  for (const char* name : {"m.5.mlp.down_proj", "m.5.odd", "m.0.attn.k_proj", "m.0.attn.q_proj"}) {
    LayerReport layer;
    layer.name = name;
    report.layers.push_back(layer);
  }
  report.resolved_recipe = {{{"name", "m.5.attn.q_proj"}, {"skip", true}},
                            {{"name", "lm_head"}, {"skip", true}},
                            "not an entry"};
  const LayerGrid grid = GridOf(report);
  EXPECT_THAT(grid.blocks, ElementsAre(0, 5));
  EXPECT_THAT(grid.roles, ElementsAre("q", "k", "down", "odd"));
  EXPECT_EQ(grid.cells[0][0].layers.size(), 1U);
  EXPECT_EQ(grid.cells[0][1].skipped, 1);
  EXPECT_TRUE(grid.cells[1][1].layers.empty());
}

TEST(Figures, AHalfThatWouldStandAloneTakesTheRow) {
  const auto half = [](const char* title) { return Figure{.title = title, .content = "x"}; };
  const std::string html = ArrangeFigures({half("a"), half("b"), half("c"), {.title = "empty"}});
  EXPECT_EQ(html.find("wide"), html.find("wide\"><h2>c"));
  EXPECT_EQ(html.find("empty"), std::string::npos);
  EXPECT_EQ(ArrangeFigures({}), "");
}

TEST(NumberText, ReadsAsPeopleWrite) {
  EXPECT_EQ(GroupedText(0), "0");
  EXPECT_EQ(GroupedText(999), "999");
  EXPECT_EQ(GroupedText(-1234567), "-1,234,567");
  EXPECT_EQ(CountText(3'279'104), "3.28 million");
  EXPECT_EQ(CountText(70'553'706'496), "70.55 billion");
  EXPECT_EQ(BytesText(2'468'000), "2.47 MB");
  EXPECT_EQ(SecondsText(0.4), "0.40 s");
  EXPECT_EQ(SecondsText(65), "65.0 s");
  EXPECT_EQ(SecondsText(245), "4 min 05 s");
  EXPECT_EQ(SecondsText(7391), "2 h 03 min");
}

}  // namespace
}  // namespace quantd
