// The Hessian of GPTQ and its factor as the paper has them, in f64.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/engine/method/calibrated_linear.h"

namespace quantd {

using Matrix = std::vector<std::vector<double>>;

// The upper Cholesky factor R of a positive definite matrix's inverse: inverse = R^T R.
inline Matrix UpperFactorOfInverse(const Matrix& matrix) {
  const size_t size = matrix.size();
  Matrix left = matrix, inverse(size, std::vector<double>(size));
  for (size_t i = 0; i < size; ++i) inverse[i][i] = 1;
  for (size_t column = 0; column < size; ++column) {  // Gauss-Jordan: no pivoting is needed
    const double pivot = left[column][column];
    for (size_t j = 0; j < size; ++j) {
      left[column][j] /= pivot;
      inverse[column][j] /= pivot;
    }
    for (size_t i = 0; i < size; ++i) {
      const double factor = left[i][column];
      if (i == column || factor == 0) continue;
      for (size_t j = 0; j < size; ++j) {
        left[i][j] -= factor * left[column][j];
        inverse[i][j] -= factor * inverse[column][j];
      }
    }
  }
  Matrix upper(size, std::vector<double>(size));
  for (size_t i = 0; i < size; ++i) {
    double sum = inverse[i][i];
    for (size_t k = 0; k < i; ++k) sum -= upper[k][i] * upper[k][i];
    upper[i][i] = std::sqrt(sum);
    for (size_t j = i + 1; j < size; ++j) {
      double rest = inverse[i][j];
      for (size_t k = 0; k < i; ++k) rest -= upper[k][i] * upper[k][j];
      upper[i][j] = rest / upper[i][i];
    }
  }
  return upper;
}

// H in the order of `turns`, `damping` times the mean of its diagonal added to the diagonal.
inline Matrix TextbookHessian(const CalibratedLinear& linear, const std::vector<size_t>& turns,
                              double damping) {
  Matrix hessian(turns.size(), std::vector<double>(turns.size()));
  double mean = 0;
  for (size_t i = 0; i < turns.size(); ++i) mean += linear.MeanSquare(i);
  mean /= static_cast<double>(turns.size());
  for (size_t i = 0; i < turns.size(); ++i) {
    for (size_t j = 0; j < turns.size(); ++j) {
      hessian[i][j] = linear.MeanProduct(turns[i], turns[j]) + (i == j ? damping * mean : 0);
    }
  }
  return hessian;
}

}  // namespace quantd
