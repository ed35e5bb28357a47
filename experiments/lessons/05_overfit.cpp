// Lesson 05. A GPT learns one sentence by heart: the whole of training, in one small loop.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "experiments/lessons/lesson.h"
#include "nn/generate.h"
#include "nn/gpt.h"

namespace notch::lessons {

void overfit(Page& page) {
  page.say(
      "A language model reads a text piece by piece and says, after every piece, how probable each "
      "possible next piece is. The pieces are called tokens; here a token is one character. The "
      "set of all tokens is the vocabulary, of size V. A GPT is such a model: a few layers of "
      "linear and attention (every place looks at itself and the places before it), all of them "
      "ops on the tape.");
  const std::string text = "a small model learns one line by heart";
  const data::Tokenizer tokenizer = data::Tokenizer::characters(text);
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  const std::int64_t V = tokenizer.vocab_size(), T = std::ssize(ids) - 1;
  nn::Gpt model({.vocab_size = V, .block_size = T, .n_layer = 2, .n_head = 2, .n_embd = 32});
  model.init(1);
  ParamStore& weights = model.params();
  weights.allocate_gradients();
  page.number("vocabulary", "V, different characters of the sentence", static_cast<double>(V));
  page.number("weights", "weights of the model", static_cast<double>(weights.count()));

  page.say(
      "The loss says how wrong it is: minus the logarithm of the probability that it gave to the "
      "token which really came, on average over all places. This is called cross-entropy, and with "
      "the natural logarithm its unit is the nat. 0 means certain and right. A model that knows "
      "nothing gives each token about 1/V. So before any training the loss must be close to ln V. "
      "If yours is not, stop: something is wrong before it began.");
  // Inputs are all tokens but the last, targets all but the first: one sequence of T places.
  const nn::Batch batch{.tokens = {.ids = std::span(ids).first(ids.size() - 1), .B = 1, .T = T},
                        .targets = std::span(ids).subspan(1)};
  Graph g;
  experiments::PlotSeries curve{.name = "loss", .color = "#0072B2", .line = true};
  double loss = 0;
  for (int step = 0; step <= 200; ++step) {
    g.begin(Graph::Mode::training);
    const Var l = model.loss(g, batch);  // forward: a new tape
    loss = static_cast<double>(l.item());
    curve.points.push_back({.x = double(step), .y = loss});
    if (step == 0) page.number("first", "loss before training", loss, 3);
    weights.zero_gradients();            // lesson 02
    g.backward(l);                       // lesson 01
    for (Param& p : weights.params()) {  // a step down
      for (std::size_t i = 0; i < p.value.flat().size(); ++i) {
        p.value.flat()[i] -= real(0.2) * p.grad.flat()[i];
      }
    }
  }
  page.number("ln", "ln V", std::log(static_cast<double>(V)), 3);

  page.say(
      "Then 200 times: forward, zero, backward, and take 0.2 of the gradient off every weight. "
      "This is gradient descent, and the 0.2 is the learning rate.");
  page.number("last", "loss after 200 steps", loss, 2);
  page.say(
      "A network that cannot learn one sentence by heart will not learn a library. So this is the "
      "first test of every new model, layer or method: overfit one batch. It takes a second and "
      "finds most mistakes. Now we give the model the first character and let it write, always "
      "taking the most probable next one:");
  Rng rng(1);  // not used: with temperature 0 nothing is left to chance
  const std::vector<std::int32_t> written =
      nn::generate(model, std::span(ids).first(1), T, {.temperature = 0}, rng);
  page.show("written", tokenizer.decode(std::span(ids).first(1)) + tokenizer.decode(written));
  page.say(
      "Of course it knows nothing else: it has learned this sentence and not English. A model of "
      "English needs more text, not more steps. Training loss and loss on text it has not seen are "
      "two different things, and only the second counts.");
  page.picture("05_overfit", {.title = "Learning one sentence by heart",
                              .x_label = "step",
                              .y_label = "loss in nats",
                              .series = {curve}});
}

}  // namespace notch::lessons
