#include "quant/store/gguf_importance.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/store/gguf_architectures.h"

namespace notch::quant {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr std::string_view kTextKey = "imatrix.datasets", kChunksKey = "imatrix.chunk_count",
                           kChunkKey = "imatrix.chunk_size";

void add_squares(const Tensor& x, std::string_view layer, InputSquares& to) {
  const std::int64_t rows = x.rows(), cols = x.cols();
  to.sums.resize(static_cast<std::size_t>(cols));
  constexpr std::int64_t kColumns = 64;  // a cut that depends on the shape only
  parallel_for(quotient_up(cols, kColumns), [&](std::int64_t part) {
    const std::int64_t first = part * kColumns, last = std::min(cols, first + kColumns);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = first; c < last; ++c) {
        const auto v = static_cast<double>(x.data[r * cols + c]);
        to.sums[static_cast<std::size_t>(c)] += v * v;
      }
    }
  });
  to.tokens += rows;
  if (std::ranges::all_of(to.sums, [](double s) { return std::isfinite(s); })) return;
  throw Error({.fault = Fault::numeric,
               .where = std::string(layer),
               .what = "an input is not finite",
               .hint = "`notch inspect` names a tensor that is not"});
}

}  // namespace

void add_importance(nn::Model& model, const nn::Tokens& tokens, ImportanceMatrix& matrix) {
  const GgufArchitecture& architecture = gguf_architecture_of(model);
  const nn::Attachment link = model.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        if (linear.weight != model.head().weight) {
          const std::string name = architecture.tensor(linear.weight->name);
          add_squares(x.value(), linear.name, matrix.of[name]);
        }
        return next(g, linear, x);
      });
  Graph g;
  g.begin(Graph::Mode::inference);
  model.hidden(g, tokens);
}

void save_importance(const ImportanceMatrix& matrix, const fs::path& path, Existing existing) {
  const auto u32 = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  const std::vector<nn::GgufEntry> entries{
      {"general.type", std::string("imatrix")},
      {std::string(kTextKey), std::vector<std::string>{matrix.text}},
      {std::string(kChunksKey), u32(matrix.chunks)},
      {std::string(kChunkKey), u32(matrix.chunk_tokens)}};
  const nn::GgufType& f32 = *nn::gguf_type("F32");
  std::vector<nn::GgufSource> sources;
  const auto put = [](double v, std::vector<std::byte>& out) {
    const auto f = static_cast<float>(v);
    const auto bytes = std::as_bytes(std::span(&f, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  for (const auto& entry : matrix.of) {
    const std::string& name = entry.first;
    const auto& squares = entry.second;
    sources.push_back({name + std::string(kSums), &f32, 1, std::ssize(squares.sums), false,
                       [&, put](std::int64_t, std::int64_t, auto& out) {
                         for (const double s : squares.sums) put(s, out);
                       }});
    sources.push_back({name + std::string(kCounts), &f32, 1, 1, false,
                       [&, put](std::int64_t, std::int64_t, auto& out) {
                         put(static_cast<double>(squares.tokens), out);
                       }});
  }
  nn::write_gguf(path, entries, sources, existing);
}

std::map<std::string, std::vector<float>> load_importance(const fs::path& path) {
  const nn::GgufFile file = nn::GgufFile::open(path);
  file.verify();
  if (const auto& type = gguf_value<std::string>(file, "general.type"); type != "imatrix")
    refuse_file(file.path(), "general.type", "no importance matrix", type, "imatrix");
  const auto floats = [&](const nn::GgufTensor& t) {
    if (t.type->name != "F32")
      refuse_file(file.path(), t.name, "not in floats", std::string(t.type->name));
    std::vector<float> out(t.bytes / sizeof(float));
    file.read(t, std::as_writable_bytes(std::span(out)));
    return out;
  };
  std::map<std::string, std::vector<float>> all;
  for (const nn::GgufTensor& t : file.tensors()) {
    if (!t.name.ends_with(kSums)) continue;
    const std::string name = t.name.substr(0, t.name.size() - kSums.size());
    const nn::GgufTensor* counts = file.tensor(name + std::string(kCounts));
    if (!counts) refuse_file(file.path(), name + std::string(kCounts), "no such tensor");
    std::vector<float> values = floats(t);
    const std::vector<float> n = floats(*counts);
    if (n.size() != 1) {
      refuse_file(file.path(), counts->name,
                  "of several experts, which this program's models have not", str(n.size()), "1");
    }
    for (float& v : values) {
      v = n[0] > 0 ? v / n[0] : 1;
      if (!std::isfinite(v) || v < 0) refuse_file(file.path(), t.name, "no sum of squares", str(v));
    }
    all.emplace(name, std::move(values));
  }
  if (all.empty()) refuse_file(file.path(), "tensors", "no NAME.in_sum2 among them");
  return all;
}

}  // namespace notch::quant
