// node check.mjs BROWSER SCRATCH RUN_DIR SIZES_DIR SITE_DIR [SHOTS]: what run.sh promises, one line per check.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Browser } from "./browser.mjs";
import * as any from "./any_page.mjs";

const [program, scratch, runDir, sizesDir, site, shots] = process.argv.slice(2);
const browser = new Browser(program, join(scratch, "profile"));
let passed = 0, failed = 0;

function check(name, holds, found = "") {
  if (holds) passed += 1;
  else failed += 1;
  if (!holds) console.log(`FAILED: ${name}${found === "" ? "" : `: ${JSON.stringify(found)}`}`);
}
const empty = (name, list) => check(name, list.length === 0, list);

// 1280 pixels less those of a scroll bar, which a headless page does not have; and a telephone's.
const kDesk = 1280 - 15, kTelephone = 390;
const views = [kDesk, kTelephone].flatMap((width) =>
  [false, true].flatMap((dark) => [true, false].map((script) => ({ width, dark, script }))));
const named = (v) => `${v.width} pixels, ${v.dark ? "dark" : "light"}, script ${v.script ? "on" : "off"}`;

// What holds for every page, in every view, everything unfolded; and `more`, which is the page's own.
async function checkPage(title, file, more) {
  const before = failed;
  for (const view of views) {
    const name = (what) => `${title}, ${named(view)}: ${what}`;
    const page = await browser.open(pathToFileURL(file).href, view);
    await page.run(any.unfold);
    if (view.script && !view.dark) {
      const stops = await page.run(any.stops);
      const outlines = [];
      for (let last = true; last !== null && outlines.length <= 2 * stops; ) {
        await page.key("Tab");
        last = await page.run(any.focused);
        if (last !== null) outlines.push(last);
      }
      check(name("Tab reaches every control"), outlines.length >= stops, `${outlines.length} of ${stops}`);
      check(name("focus is seen"), outlines.every(Boolean));
    }
    check(name("no sideways scrolling"), (await page.run(any.tooWide)) === 0, await page.run(any.tooWide));
    if (view.width === kDesk) empty(name("plots fit"), await page.run(any.scrollingPlots));
    empty(name("contrast of 4.5 or more"), await page.run(any.faint));
    empty(name("pictures and controls have names"), await page.run(any.nameless));
    empty(name("what scrolls has the keyboard's focus"), await page.run(any.unreachable));
    await more(page, name);
    empty(name("no errors on the console"), page.faults);
    empty(name("nothing is loaded"), page.requests.filter((url) => url !== pathToFileURL(file).href));
    if (shots) writeFileSync(join(shots, `${title}-${view.width}-${view.dark ? "dark" : "light"}${view.script ? "" : "-plain"}.png`), await page.screenshot());
    await page.close();
  }
  console.log(`${failed === before ? "passed" : "FAILED"}: ${title} in ${views.length} views`);
}

// The table of a run, independently of its page.
function tableOf(directory) {
  const [head, ...lines] = readFileSync(join(directory, "results.csv"), "utf8").trim().split("\n").map((line) => line.split(","));
  return lines.map((cells) => Object.fromEntries(cells.map((cell, i) => [head[i], cell])));
}
const rows = tableOf(runDir);
const drawn = rows.filter((row) => row.granularity || row.method === "fp16");

const shown = () => ({
  rows: [...document.querySelectorAll("#all tbody tr, #all table tr")].slice(1).filter((row) => !row.hidden).length,
  marks: [...document.querySelectorAll(".front")].map((f) => [...f.querySelectorAll(".mark")].filter((m) => m.style.display !== "none").length),
});
const choose = (i, value) => {
  const select = document.querySelectorAll(".filter select")[i];
  select.value = value;
  select.dispatchEvent(new Event("change"));
};

async function reportChecks(page, name) {
  const { marks } = await page.run(shown);
  check(name("a mark for every quantized row, of loss and of accuracy"), marks.length === 2 && marks.every((n) => n === drawn.length), `${marks} marks, ${drawn.length} rows`);
  if (!page.view.script) {
    const text = await page.run(() => document.body.innerText);
    for (const part of ["Verdict", "Reproduce", "notch run"]) check(name(`says ${part}`), text.includes(part));
    check(name("no control without script"), (await page.run(() => document.querySelectorAll("select, button").length)) === 0);
    return;
  }
  // Filter: by method, by width, both; and back.
  const method = drawn.at(-1).method, bits = drawn[0].bits;
  const count = (list, m, b) => list.filter((r) => (!m || r.method === m) && (!b || r.bits === b)).length;
  for (const [m, b] of [[method, ""], ["", bits], [method, bits], ["", ""]]) {
    await page.run(choose, 0, m);
    await page.run(choose, 1, b);
    const now = await page.run(shown), wanted = { rows: count(rows, m, b), marks: [count(drawn, m, b), count(drawn, m, b)] };
    check(name(`filter method=${m} bits=${b}`), JSON.stringify(now) === JSON.stringify(wanted), now);
  }
  // Sort: by loss, both ways.
  for (const sign of [1, -1]) {
    const order = await page.run(() => {
      const heads = [...document.querySelectorAll("#all th")], column = heads.findIndex((h) => h.textContent === "loss");
      heads[column].querySelector("button").click();
      const table = document.querySelector("#all table");
      return [...table.rows].slice(1).map((row) => parseFloat(row.cells[column].textContent));
    });
    check(name("sort by loss"), order.every((v, i) => i === 0 || sign * (v - order[i - 1]) >= 0), order);
  }
  // Hover and keys: both tell which row a mark is.
  const told = () => document.querySelector(".readout").textContent;
  const before = await page.run(told);
  const spot = await page.run(() => {
    const mark = [...document.querySelectorAll("#pareto .mark")].at(-1);  // nothing is drawn over it
    mark.scrollIntoView({ block: "center", inline: "center" });
    const box = mark.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  });
  await page.point(spot.x, spot.y);
  const after = await page.run(told);
  check(name("hover tells the row"), after !== before && after.includes("bits per weight"), after);
  await page.run(() => document.querySelector("#pareto .mark[tabindex='0']").focus());
  await page.key("ArrowRight");
  const stepped = await page.run(() => [document.querySelector(".readout").textContent,
    document.activeElement.querySelector("title")?.textContent, document.querySelectorAll("#pareto .mark.on").length]);
  check(name("arrow keys step to the next mark"), stepped[0] === stepped[1] && stepped[2] === 1, stepped);
}

// Every size has its marks: fp32, the control, and the best of three families at three widths.
async function sizesChecks(page, name) {
  const all = tableOf(sizesDir), models = [...new Set(all.map((row) => row.model))];
  const { marks } = await page.run(shown);
  check(name("marks of loss, cost and accuracy"), JSON.stringify(marks) === JSON.stringify([2 * 11, 2 * 9, 2 * 11]), marks);
  check(name("sizes are named beside their fronts"), await page.run((list) => list.every((m) => [...document.querySelectorAll("#pareto text")].some((t) => t.textContent === m)), models));
  if (!page.view.script) return;
  await page.run(choose, 0, models[1]);
  const now = await page.run(shown), wanted = { rows: all.filter((row) => row.model === models[1]).length, marks: [11, 9, 11] };
  check(name("filter by model"), JSON.stringify(now) === JSON.stringify(wanted), now);
  await page.run(choose, 0, "");
}

// The slider of widths: as many lines as the grid has values; other weights have other bars.
async function widthChecks(page, name) {
  const drawn = () => ({
    lines: document.querySelector("#weights path.grid").getAttribute("d").split("M").length - 1,
    bars: document.querySelector("#weights path.bars").getAttribute("d"),
    said: document.querySelector("#weights figcaption").textContent,
  });
  const before = await page.run(drawn);
  check(name("weights are told"), /\d+ bits: \d+ values/.test(before.said), before.said);
  if (!page.view.script) return;
  await page.run(() => document.querySelector("#weights input").focus());
  await page.key("Home");
  for (const bits of [2, 3, 4]) {
    const now = await page.run(drawn), values = 2 ** bits - 1;
    check(name(`${bits} bits are ${values} values`), now.lines === values && now.said.includes(`${bits} bits: ${values} values`), now.said);
    await page.key("ArrowRight");
  }
  await page.run(() => {
    const select = document.querySelector("#weights select");
    select.selectedIndex = 1;
    select.dispatchEvent(new Event("change"));
  });
  const after = await page.run(drawn);
  check(name("other weights, other bars"), after.bars !== before.bars && after.said !== before.said, after.said);
}

// Back and next: `last` steps, of which those up to now are seen.
const stepChecks = (last) => async (page, name) => {
  const seen = () => [...document.querySelectorAll("tr[data-step]")].filter((row) => getComputedStyle(row).visibility === "visible").length;
  const groups = () => [...document.querySelectorAll("[data-only]")].filter((g) => g.style.display !== "none").length;
  check(name("all steps, or none before the first"), (await page.run(seen)) === (page.view.script ? 0 : last), await page.run(seen));
  check(name("one picture at a time"), (await page.run(groups)) <= 1);
  if (!page.view.script) return;
  const press = (i) => page.run((at) => document.querySelectorAll("#steps button")[at].click(), i);
  for (let step = 1; step <= last + 1; ++step) {
    await press(1);
    const now = await page.run(seen);
    check(name(`step ${step}`), now === Math.min(step, last), now);
  }
  await press(0);
  check(name("back"), (await page.run(seen)) === last - 1);
};

async function staircaseChecks(page, name) {
  const state = () => ({ said: document.querySelector(".said").textContent, x: Number(document.querySelector(".now").getAttribute("cx")) });
  const before = await page.run(state);
  check(name("the first weight is told"), before.said.includes("w = 0.37"), before.said);
  if (!page.view.script) return;
  await page.run(() => document.querySelector("input").focus());
  await page.key("ArrowRight");
  const stepped = await page.run(state);
  check(name("keys move the weight"), stepped.x > before.x && stepped.said.includes("w = 0.375"), stepped.said);
  // From where it is to w = 0.9, which is outside the grid: 40 + 500 (0.9 + 0.2) of 680.
  const spot = (at) => {
    const svg = document.querySelector("svg");
    svg.scrollIntoView({ block: "center" });
    const box = svg.getBoundingClientRect();
    return { x: box.left + box.width * at / 680, y: box.top + box.height / 2 };
  };
  const from = await page.run(spot, 300), to = await page.run(spot, 590);
  if (to.x < page.view.width) {
    await page.drag(from, to);
    const dragged = await page.run(state);
    check(name("a pointer drags the weight"), dragged.x > 580 && dragged.said.includes("outside"), dragged);
  }
  await page.run(() => {
    const slider = document.querySelector("input");
    slider.value = 0.37;
    slider.dispatchEvent(new Event("input"));
    for (let i = 0; i < 20; ++i) document.querySelector("button").click();
  });
  const trained = (await page.run(state)).said;
  const flips = Number(/changed (\d+) times/.exec(trained)?.[1]);
  check(name("training oscillates at the boundary"), trained.includes("200 steps") && flips > 50, trained);
}

const reportAndWidth = async (page, name) => {
  await reportChecks(page, name);
  await widthChecks(page, name);
};

try {
  await checkPage("report", join(runDir, "report.html"), reportAndWidth);
  await checkPage("sizes", join(sizesDir, "report.html"), sizesChecks);
  await checkPage("index", join(site, "index.html"), async (page, name) => {
    const links = await page.run(() => [...document.querySelectorAll("li a")].map((a) => a.getAttribute("href")));
    check(name("links to four pages"), links.length === 4 && links.every((file) => existsSync(join(site, file))), links);
  });
  await checkPage("tape", join(site, "tape.html"), stepChecks(12));
  await checkPage("staircase", join(site, "staircase.html"), staircaseChecks);
  await checkPage("width", join(site, "width.html"), widthChecks);
  await checkPage("gptq", join(site, "gptq.html"), stepChecks(3));
} catch (error) {
  check("the checks themselves", false, error.stack);
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
