// The methods of the comparison: every name that an experiment can ask for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/methods/method.h"

namespace notch::quant {

/// All methods, in the order in which lists and tables name them.
std::span<const Method* const> methods();

/// Usage error naming `where` for a grid that the method has no codes of.
void require_grid(const Method& method, const Spec& spec, std::string_view where);
/// The same for a plan and what it resolves to, of which a method of one grid must have that.
void require_grids(const Method& method, const Plan& plan, std::span<const Target> targets);

/// The row of that name; null for any other.
const Method* find_method(std::string_view name);
/// The row of that name; usage error with method_hint for any other.
const Method& method(std::string_view name);
/// Whose codes a method that trains begins with: the method that `from` (qat.from) names, or its own base;
/// null: none.
const Method* start_of(const Method& method, std::string_view from);
/// What to do about a name that no row has; may be empty.
std::string method_hint(std::string_view name);

enum class Methods { all, post_training, trained };
std::vector<std::string> method_names(Methods which = Methods::all);
/// "rtn, rtn-mse, …" for help texts and hints.
const std::string& method_list(Methods which = Methods::all);

/// What methods report of a row, each key once.
const std::vector<RowFigure>& row_figures();

}  // namespace notch::quant
