#include "experiments/report/page_script.h"

namespace notch::experiments {

const std::string_view kPageScript = R"(
(function () {
  "use strict";
  var table = document.querySelector("#all table"), fronts = document.querySelector(".fronts");
  var rows = table ? Array.from(table.rows) : [], head = rows.shift();
  var titles = head ? Array.from(head.cells).map(function (c) { return c.textContent; }) : [];
  var drawn = fronts ? Array.from(fronts.querySelectorAll("[data-method]")) : [];
  var plots = fronts ? Array.from(fronts.querySelectorAll("figure")).map(function (figure) {
    return {figure: figure, marks: Array.from(figure.querySelectorAll(".mark"))};
  }) : [];
  var chosen = {model: "", method: "", bits: ""}, count = document.createElement("output");

  function textAt(row, title) {
    var column = titles.indexOf(title);
    return column === -1 ? "" : row.cells[column].textContent;
  }
  function wanted(valueOf) {
    return Object.keys(chosen).every(function (key) {
      return chosen[key] === "" ? true : chosen[key] === valueOf(key);
    });
  }
  function visible(marks) {
    return marks.filter(function (m) { return m.style.display !== "none"; });
  }
  function reach(marks, mark) {
    marks.forEach(function (m) { m.setAttribute("tabindex", m === mark ? "0" : "-1"); });
  }
  function show() {
    rows.forEach(function (row) {
      row.hidden = !wanted(function (key) { return textAt(row, key); });
    });
    drawn.forEach(function (e) {
      e.style.display = wanted(function (key) { return e.dataset[key]; }) ? "" : "none";
    });
    count.value = rows.filter(function (row) { return !row.hidden; }).length + " of " +
                  rows.length + " rows";
    plots.forEach(function (plot) { reach(plot.marks, visible(plot.marks)[0]); });
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
    (fronts || table.parentNode).before(bar);
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

  plots.forEach(function (plot) {
    if (plot.marks.length === 0) return;
    var svg = plot.figure.querySelector("svg"), readout = document.createElement("p");
    readout.className = "readout";
    readout.setAttribute("aria-live", "polite");
    readout.textContent = "Point at a mark, or step from mark to mark with the arrow keys.";
    plot.figure.querySelector(".plot").after(readout);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", svg.querySelector("title").textContent);
    plot.marks.forEach(function (mark) {
      var note = mark.querySelector("title").textContent;
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", note);
      function tell() {
        plot.marks.forEach(function (m) { m.classList.toggle("on", m === mark); });
        readout.textContent = note;
      }
      mark.addEventListener("pointerenter", tell);
      mark.addEventListener("focus", function () { tell(); reach(plot.marks, mark); });
      mark.addEventListener("keydown", function (event) {
        var step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
        if (!step) return;
        event.preventDefault();
        var all = visible(plot.marks);
        all[(all.indexOf(mark) + step + all.length) % all.length].focus();
      });
    });
  });
  if (rows.length > 1) show();
})();
)";

}  // namespace notch::experiments
