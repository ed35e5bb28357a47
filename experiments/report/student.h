// Student's t distribution: what turns an estimate and its standard error into an interval and a
// p-value when the error itself comes from few seeds.
#pragma once

namespace notch::experiments {

/// P(T <= t) for T with df > 0 degrees of freedom, by the continued fraction of the incomplete beta
/// function (DLMF 8.17.22, modified Lentz). Within 1e-12; df above 1e6 counts as 1e6.
double t_cdf(double t, double df);

/// The t with t_cdf(t, df) = p, 0 < p < 1, by Newton's steps where they stay in
/// a bracket that bisection halves; within 1e-10 relative.
double t_quantile(double p, double df);

}  // namespace notch::experiments
