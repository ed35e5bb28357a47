#include "experiments/report/page_script.h"

namespace notch::experiments {

const std::string_view kPageScript = R"(
(function () {
  "use strict";
  var table = document.querySelector("#all table"), figure = document.getElementById("pareto");
  var rows = table ? Array.from(table.rows) : [], head = rows.shift();
  var titles = head ? Array.from(head.cells).map(function (c) { return c.textContent; }) : [];
  var drawn = figure ? Array.from(figure.querySelectorAll("[data-method]")) : [];
  var marks = drawn.filter(function (e) { return e.classList.contains("mark"); });
  var chosen = {method: "", bits: ""}, count = document.createElement("output");

  function textAt(row, title) {
    var column = titles.indexOf(title);
    return column === -1 ? "" : row.cells[column].textContent;
  }
  function wanted(values) {
    return Object.keys(chosen).every(function (key) {
      return chosen[key] === "" ? true : chosen[key] === values[key];
    });
  }
  function reach(mark) {
    marks.forEach(function (m) { m.setAttribute("tabindex", m === mark ? "0" : "-1"); });
  }
  function show() {
    rows.forEach(function (row) {
      row.hidden = !wanted({method: textAt(row, "method"), bits: textAt(row, "bits")});
    });
    drawn.forEach(function (e) { e.style.display = wanted(e.dataset) ? "" : "none"; });
    count.value = rows.filter(function (row) { return !row.hidden; }).length + " of " +
                  rows.length + " rows";
    reach(visible()[0]);
  }
  function visible() {
    return marks.filter(function (m) { return m.style.display !== "none"; });
  }

  if (rows.length > 1) {
    var bar = document.createElement("p");
    bar.className = "filter";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Rows of the plot and of the table of all rows");
    Object.keys(chosen).forEach(function (title) {
      if (!titles.includes(title)) return;
      var label = document.createElement("label"), select = document.createElement("select");
      select.add(new Option("all", ""));
      Array.from(new Set(rows.map(function (row) { return textAt(row, title); })))
        .forEach(function (value) { select.add(new Option(value, value)); });
      select.onchange = function () { chosen[title] = select.value; show(); };
      label.append(title + " ", select);
      bar.append(label);
    });
    bar.append(count);
    (figure || table.parentNode).before(bar);
    Array.from(head.cells).forEach(function (cell, column) {
      var button = document.createElement("button"), up = true;
      button.textContent = cell.textContent;
      button.title = "sort";
      cell.replaceChildren(button);
      button.onclick = function () {
        var sign = up ? 1 : -1;
        rows.sort(function (a, b) {
          var x = a.cells[column].textContent, y = b.cells[column].textContent;
          var d = parseFloat(x) - parseFloat(y);
          return sign * (isNaN(d) ? x.localeCompare(y) : d);
        });
        rows.forEach(function (row) { head.parentNode.append(row); });
        Array.from(head.cells).forEach(function (other) { other.removeAttribute("aria-sort"); });
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        up = !up;
      };
    });
  }

  if (marks.length > 0) {
    var svg = figure.querySelector("svg"), readout = document.createElement("p");
    readout.className = "readout";
    readout.setAttribute("aria-live", "polite");
    readout.textContent = "Point at a mark, or step from mark to mark with the arrow keys.";
    figure.querySelector(".plot").after(readout);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", svg.querySelector("title").textContent);
    marks.forEach(function (mark) {
      var note = mark.querySelector("title").textContent;
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", note);
      function tell() {
        marks.forEach(function (m) { m.classList.toggle("on", m === mark); });
        readout.textContent = note;
      }
      mark.addEventListener("pointerenter", tell);
      mark.addEventListener("focus", function () { tell(); reach(mark); });
      mark.addEventListener("keydown", function (event) {
        var step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
        if (!step) return;
        event.preventDefault();
        var all = visible();
        all[(all.indexOf(mark) + step + all.length) % all.length].focus();
      });
    });
  }
  if (rows.length > 1) show();
})();
)";

}  // namespace notch::experiments
