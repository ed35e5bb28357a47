#include "experiments/lessons/site_scripts.h"

namespace notch::lessons {

const std::string_view kSiteStyle = R"(
body { max-width: 860px; }
button { font: inherit; color: var(--ink); background: var(--head); border: 1px solid var(--rule);
         border-radius: 4px; padding: 2px 12px; margin-right: 8px; cursor: pointer; }
a { color: var(--focus); }
tr.now td { background: var(--other); }
.said { min-height: 3em; }
#staircase svg { touch-action: pan-y; cursor: ew-resize; }
)";

const std::string_view kStepScript = R"(
(function () {
  "use strict";
  var figure = document.getElementById("steps");
  var parts = Array.from(figure.querySelectorAll("[data-step]"));
  var groups = Array.from(figure.querySelectorAll("[data-only]"));
  var last = Math.max.apply(null, parts.map(function (p) { return Number(p.dataset.step); }));
  var now = 0, said = document.createElement("output"), bar = document.createElement("p");
  function show() {
    parts.forEach(function (p) {
      var step = Number(p.dataset.step);
      p.style.visibility = step > now ? "hidden" : "";
      p.classList.toggle("now", step === now);
    });
    groups.forEach(function (g) {
      g.style.display = Number(g.dataset.only) === now ? "" : "none";
    });
    said.value = "step " + now + " of " + last;
  }
  function button(words, by) {
    var b = document.createElement("button");
    b.textContent = words;
    b.onclick = function () { now = Math.min(Math.max(now + by, 0), last); show(); };
    bar.append(b);
  }
  button("back", -1);
  button("next", 1);
  bar.append(said);
  figure.prepend(bar);
  show();
})();
)";

const std::string_view kStaircaseScript = R"(
(function () {
  "use strict";
  var figure = document.getElementById("staircase"), svg = figure.querySelector("svg");
  var now = figure.querySelector(".now"), line = figure.querySelector(".pretended");
  var said = figure.querySelector(".said"), rate = 0.05;
  var w = 0.37, flips = 0, steps = 0, dragged = false;
  function x(v) { return (40 + 500 * (v + 0.2)).toFixed(1); }
  function y(v) { return (250 - 220 * (v + 0.2)).toFixed(1); }
  function rounded(v) { return Math.max(-7, Math.min(7, Math.round(v / 0.1))) / 10; }
  function gradient() { return Math.abs(w) > 0.7001 ? 0 : 2 * (rounded(w) - 0.33); }
  function show() {
    var at = rounded(w), inside = !(Math.abs(w) > 0.7001), reach = inside ? 0.2 : 0;
    now.setAttribute("cx", x(w));
    now.setAttribute("cy", y(at));
    line.setAttribute("x1", x(w - 0.2));
    line.setAttribute("x2", x(w + 0.2));
    line.setAttribute("y1", y(at - reach));
    line.setAttribute("y2", y(at + reach));
    slider.value = w;
    said.textContent = "At w = " + w.toFixed(3) + ": ŵ = " + at.toFixed(1) + ", the loss (ŵ − 0.33)² " +
      "has the slope " + (2 * (at - 0.33)).toFixed(2) + " at ŵ; the true gradient of w is 0, the " +
      "straight-through one is " + gradient().toFixed(2) + (inside ? "." : ", as w is outside.") +
      (steps ? " " + steps + " steps, the code changed " + flips + " times." : "");
  }
  function move(v) { w = Math.max(-0.2, Math.min(1, v)); steps = flips = 0; show(); }
  var bar = document.createElement("p"), label = document.createElement("label");
  var slider = document.createElement("input"), train = document.createElement("button");
  slider.type = "range";
  slider.min = -0.2;
  slider.max = 1;
  slider.step = 0.005;
  slider.oninput = function () { move(Number(slider.value)); };
  label.append("w ", slider);
  train.textContent = "train 10 steps";
  train.onclick = function () {
    for (var i = 0; i !== 10; i += 1) {
      var before = rounded(w);
      w -= rate * gradient();
      steps += 1;
      if (rounded(w) !== before) flips += 1;
    }
    show();
  };
  bar.append(label, train);
  figure.prepend(bar);
  function from(event) {
    var box = svg.getBoundingClientRect();
    return (event.clientX - box.left) / box.width * 680 / 500 - 40 / 500 - 0.2;
  }
  svg.addEventListener("pointerdown", function (event) {
    dragged = true;
    svg.setPointerCapture(event.pointerId);
    move(from(event));
  });
  svg.addEventListener("pointermove", function (event) { if (dragged) move(from(event)); });
  svg.addEventListener("pointerup", function () { dragged = false; });
  show();
})();
)";

}  // namespace notch::lessons
