// Gradient rows of the general ops: elementwise, reductions, shapes, matrix products.

#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"

namespace notch::general_ops_test {

using test::Fill;
using test::Input;
using test::OpRow;
using test::require_gradients;
using Vars = std::span<const Var>;

/// Checks each row with each set of inputs.
void require_all(const std::vector<OpRow>& rows, const std::vector<std::vector<Input>>& inputs) {
  for (OpRow row : rows) {
    for (const auto& set : inputs) {
      row.inputs = set;
      require_gradients(row);
    }
  }
}

TEST_CASE("gradients of binary ops with b repeated over leading axes") {
  const std::vector<OpRow> rows = {
      {.op = "add", .recipe = [](Graph&, Vars in) { return add(in[0], in[1]); }},
      {.op = "sub", .recipe = [](Graph&, Vars in) { return sub(in[0], in[1]); }},
      {.op = "mul", .recipe = [](Graph&, Vars in) { return mul(in[0], in[1]); }},
      {.op = "div", .recipe = [](Graph&, Vars in) { return div(in[0], in[1]); }},
  };
  const auto pair = [](Shape a, Shape b) { return std::vector<Input>{{a}, {b, Fill::off_zero}}; };
  require_all(rows, {pair({1}, {1}), pair({7}, {7}), pair({7}, {1}), pair({2, 3}, {2, 3}),
                     pair({3, 5}, {5}), pair({2, 3, 5}, {3, 5}), pair({130, 3}, {3}),
                     pair({2, 1, 3, 2}, {1, 3, 2}), pair({2, 3}, {1, 1}), pair({1}, {1, 1, 1})});
}

TEST_CASE("gradients of the binary ops when both inputs are the same") {
  const std::vector<OpRow> rows = {
      {.op = "add", .recipe = [](Graph&, Vars in) { return add(in[0], in[0]); }},
      {.op = "sub", .recipe = [](Graph&, Vars in) { return sub(in[0], in[0]); }},
      {.op = "mul", .recipe = [](Graph&, Vars in) { return mul(in[0], in[0]); }},
      {.op = "div", .recipe = [](Graph&, Vars in) { return div(in[0], in[0]); }},
  };
  require_all(rows, {{{{1}, Fill::off_zero}}, {{{3, 5}, Fill::off_zero}}});
}

TEST_CASE("gradients of the unary ops") {
  const std::vector<OpRow> rows = {
      {.op = "scale", .recipe = [](Graph&, Vars in) { return scale(in[0], -1.7); }},
      {.op = "exp", .recipe = [](Graph&, Vars in) { return exp(in[0]); }},
      {.op = "tanh", .recipe = [](Graph&, Vars in) { return tanh(in[0]); }},
      {.op = "relu", .recipe = [](Graph&, Vars in) { return relu(in[0]); }},
      {.op = "sigmoid", .recipe = [](Graph&, Vars in) { return sigmoid(in[0]); }},
      {.op = "gelu",
       .what = "exact",
       .recipe = [](Graph&, Vars in) { return gelu(in[0], Gelu::exact); }},
      {.op = "gelu",
       .what = "tanh",
       .recipe = [](Graph&, Vars in) { return gelu(in[0], Gelu::tanh); }},
      {.op = "gelu",
       .what = "exact, far out",
       .recipe = [](Graph&, Vars in) { return gelu(scale(in[0], 6), Gelu::exact); }},
      {.op = "gelu",
       .what = "tanh, far out",
       .recipe = [](Graph&, Vars in) { return gelu(scale(in[0], 6), Gelu::tanh); }},
      {.op = "sigmoid",
       .what = "far out",
       .recipe = [](Graph&, Vars in) { return sigmoid(scale(in[0], 20)); }},
      {.op = "dropout", .recipe = [](Graph&, Vars in) { return dropout(in[0], 0.4); }},
  };
  require_all(rows, {{{{1}, Fill::off_zero}},
                     {{{17}, Fill::off_zero}},
                     {{{3, 1, 5}, Fill::off_zero}},
                     {{{2, 3, 2, 3}, Fill::off_zero}}});
  require_all({{.op = "log", .recipe = [](Graph&, Vars in) { return log(in[0]); }}},
              {{{{1}, Fill::positive}}, {{{3, 7}, Fill::positive}}});
}

TEST_CASE("gradients of reductions and softmax") {
  for (const int axis : {kAllAxes, 0, 1, 2}) {
    const std::vector<OpRow> rows = {
        {.op = "sum", .recipe = [axis](Graph&, Vars in) { return sum(in[0], axis); }},
        {.op = "scale",
         .what = "as mean",
         .recipe = [axis](Graph&, Vars in) { return mean(in[0], axis); }},
        {.op = "max", .recipe = [axis](Graph&, Vars in) { return max(in[0], axis); }},
    };
    require_all(rows, {{{{2, 3, 5}, Fill::distinct}},
                       {{{1, 1, 1}, Fill::distinct}},
                       {{{3, 1, 2}, Fill::distinct}}});
    if (axis < 1) require_all(rows, {{{{1}, Fill::distinct}}, {{{19}, Fill::distinct}}});
  }
  require_all({{.op = "softmax", .recipe = [](Graph&, Vars in) { return softmax(in[0]); }},
               {.op = "softmax",
                .what = "sharp",
                .recipe = [](Graph&, Vars in) { return softmax(scale(in[0], 10)); }}},
              {{{{1}}}, {{{5}}}, {{{3, 1}}}, {{{2, 3, 7}}}});
}

TEST_CASE("gradients of the ops that move elements") {
  require_all({{.op = "reshape",
                .recipe = [](Graph&, Vars in) { return reshape(in[0], {in[0].value().size()}); }},
               {.op = "reshape",
                .what = "used twice",
                .recipe =
                    [](Graph&, Vars in) {
                      const Var flat = reshape(exp(in[0]), {in[0].value().size(), 1});
                      return add(mul(flat, flat), flat);
                    }}},
              {{{{1}}}, {{{2, 3}}}, {{{2, 1, 3, 2}}}});
  for (const auto& [a, b] : {std::pair{0, 1}, {0, 2}, {1, 2}, {2, 0}, {3, 1}, {0, 3}}) {
    require_all({{.op = "transpose",
                  .what = str(a, " ", b),
                  .recipe = [a = a, b = b](Graph&, Vars in) { return transpose(in[0], a, b); }}},
                {{{{2, 3, 4, 5}}}, {{{1, 3, 1, 2}}}});
  }
  require_gradients({.op = "transpose", .inputs = {{{4, 3}}}, .recipe = [](Graph&, Vars in) {
                       return transpose(in[0], 0, 1);
                     }});
  for (const int axis : {0, 1, 2}) {
    require_all(
        {{.op = "slice",
          .what = str("axis ", axis),
          .recipe = [axis](Graph&, Vars in) { return slice(in[0], axis, 1, 3); }},
         {.op = "slice",
          .what = str("all of axis ", axis),
          .recipe = [axis](Graph&,
                           Vars in) { return slice(in[0], axis, 0, in[0].shape()[axis]); }}},
        {{{{3, 4, 5}}}, {{{3, 3, 3}}}});
    const std::vector<Input> parts = {{Shape{2, 3, 4}.with(axis, 1)},
                                      {Shape{2, 3, 4}.with(axis, 5)},
                                      {Shape{2, 3, 4}.with(axis, 2)}};
    require_all({{.op = "concat",
                  .what = str("axis ", axis),
                  .recipe = [axis](Graph&, Vars in) { return concat(in, axis); }}},
                {parts, {parts[0]}});
    require_all({{.op = "concat",
                  .what = "a part used twice",
                  .recipe =
                      [axis](Graph&, Vars in) {
                        const Var all[] = {in[0], in[1], in[0]};
                        return concat(all, axis);
                      }}},
                {{parts[0], parts[1]}});
  }
}

TEST_CASE("gradients of matrix products") {
  const auto shapes = [](Shape a, Shape b) { return std::vector<Input>{{a}, {b}}; };
  require_all({{.op = "matmul", .recipe = [](Graph&, Vars in) { return matmul(in[0], in[1]); }}},
              {shapes({1, 1}, {1, 1}), shapes({3, 5}, {5, 2}), shapes({2, 3, 5}, {5, 2}),
               shapes({2, 2, 3, 5}, {5, 1}), shapes({3, 2, 5}, {3, 5, 4}),
               shapes({1, 2, 5}, {1, 5, 4}), shapes({520, 2}, {2, 3})});
  require_all({{.op = "linear", .recipe = [](Graph&, Vars in) { return linear(in[0], in[1]); }}},
              {shapes({1}, {1, 1}), shapes({3, 5}, {2, 5}), shapes({2, 3, 5}, {7, 5}),
               shapes({520, 2}, {3, 2}), shapes({2, 3}, {520, 3})});
  const auto biased = [](Shape x, Shape w) { return std::vector<Input>{{x}, {w}, {{w[0]}}}; };
  require_all({{.op = "linear",
                .what = "with bias",
                .recipe = [](Graph&, Vars in) { return linear(in[0], in[1], in[2]); }}},
              {biased({1}, {1, 1}), biased({3, 5}, {2, 5}), biased({2, 3, 5}, {7, 5}),
               biased({520, 2}, {3, 2}), biased({2, 3}, {520, 3})});
}

}  // namespace notch::general_ops_test
