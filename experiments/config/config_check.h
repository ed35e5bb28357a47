// What experiments and single rows are checked for alike. All throw Fault::usage at `key`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "experiments/config/config.h"

namespace notch::experiments {

/// Of directories and files.
inline constexpr std::string_view kNameCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

/// "1, 2, 4, 8": the divisors of n.
std::string divisors(int n);
/// A hint: the formats of quant.format whose groups divide so many inputs.
std::string formats_with_groups(std::int64_t inputs);

/// A size of groups there is with granularity = "group", where it divides the layers' inputs, and nowhere
/// else.
void check_groups(const ExperimentConfig& config, std::string_view granularity, int group_size,
                  const std::string& key, const Origins& origins);

/// quant.format is all of its Spec or none of it: no other key says something else.
void check_format(const ExperimentConfig& config, const Origins& origins);

/// Not every grid has every width: one bit is the sign, three levels are two bits.
void check_width(int bits, std::string_view grid, const std::string& key, const Origins& origins);

/// 1 bit lies inside the range of the field and is no width.
void check_activation_bits(int bits, const std::string& key, const Origins& origins);

/// `key`: the line that set the values, if it is not theirs.
void check_qat(const ExperimentConfig& config, const std::string& key, const Origins& origins);

/// Settings of some rows alone: of the methods' sections, and nothing that the control shares.
void check_settings(const ExperimentConfig& config, const RowConfig& row, const std::string& key,
                    const Origins& origins);

/// The rows that are listed by themselves.
void check_listed_rows(const ExperimentConfig& config, const Origins& origins);

}  // namespace notch::experiments
