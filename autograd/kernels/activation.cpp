#include "autograd/kernels/activation.h"

#include <cmath>
#include <numbers>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {
namespace {

constexpr double kSqrt2OverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

real gelu(real x, Gelu form) {
  const double v = x;
  if (form == Gelu::exact) return static_cast<real>(v * 0.5 * std::erfc(-v / std::numbers::sqrt2));
  return static_cast<real>(v / (1 + std::exp(-2 * kSqrt2OverPi * (v + kCubic * v * v * v))));
}
real gelu_derivative(real x, Gelu form) {
  const double v = x;
  if (form == Gelu::exact)
    return static_cast<real>(0.5 * std::erfc(-v / std::numbers::sqrt2) +
                             v * std::exp(-v * v / 2) / std::sqrt(2 * std::numbers::pi));
  const double s = 1 / (1 + std::exp(-2 * kSqrt2OverPi * (v + kCubic * v * v * v)));
  return static_cast<real>(s + v * s * (1 - s) * 2 * kSqrt2OverPi * (1 + 3 * kCubic * v * v));
}

template <class F>
void map(std::span<real> out, std::span<const real> x, const F& f) {
  for_chunks(std::ssize(x), [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      out[i] = f(x[i]);
  });
}
template <class F>
void map_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> x,
                  const F& f) {
  for_chunks(std::ssize(x), [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      dx[i] += dout[i] * f(x[i]);
  });
}

}  // namespace

void gelu_forward(std::span<real> out, std::span<const real> x, Gelu form) {
  map(out, x, [form](real v) { return gelu(v, form); });
}
void gelu_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> x,
                   Gelu form) {
  map_backward(dx, dout, x, [form](real v) { return gelu_derivative(v, form); });
}
void exp_forward(std::span<real> out, std::span<const real> x) {
  map(out, x, [](real v) { return std::exp(v); });
}
void tanh_forward(std::span<real> out, std::span<const real> x) {
  map(out, x, [](real v) { return std::tanh(v); });
}
void sigmoid_forward(std::span<real> out, std::span<const real> x) {
  map(out, x, [](real v) { return 1 / (1 + std::exp(-v)); });
}
void exp_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  map_backward(dx, dout, out, [](real y) { return y; });
}
void tanh_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  map_backward(dx, dout, out, [](real y) { return 1 - y * y; });
}
void sigmoid_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  map_backward(dx, dout, out, [](real y) { return y * (1 - y); });
}

}  // namespace notch::kernels
