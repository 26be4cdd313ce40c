// The nonlinear functions of MLPs.
#pragma once

namespace quantd {

enum class Activation {
  kSilu,      // x / (1 + exp(-x))
  kGelu,      // x Phi(x), Phi the normal distribution's
  kGeluTanh,  // x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), the tanh form of GELU
  kRelu,      // max(x, 0)
};

}  // namespace quantd
