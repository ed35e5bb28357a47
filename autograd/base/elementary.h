// exp, log, pow, erfc, sin and cos of a double for whatever decides a result: the C library's, or, in
// portable arithmetic (base/arithmetic.h), our own from +, -, *, / and powers of two alone, which
// IEEE 754 defines to the last bit. Two C libraries, and two CPUs under one, may differ there.
//
// Not for loops over many elements: kernels/vmath.h. Errors against long double over random
// arguments are in elementary_test.cpp: exp, log, sin and cos within 2 units in the last place (sin
// and cos: of 1), pow within 2 (1 + |y log x|).
#pragma once

namespace notch::elementary {

double exp(double x);
float exp(float x);    ///< portable: that of the double, rounded
double log(double x);  ///< -inf at 0, NaN below
float log(float x);
double pow(double x, double y);  ///< of x < 0: whole y
double erfc(double x);  ///< within 8 units in the last place of 1
/// |x| up to 2^20 in portable arithmetic; the sine and cosine of a larger one are the C library's.
double sin(double x);
double cos(double x);

}  // namespace notch::elementary
