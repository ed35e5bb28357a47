// What every page of ours must hold, in any view: functions that run in the page.

/// Everything that is folded away.
export function unfold() {
  for (const details of document.querySelectorAll("details")) details.open = true;
}

/// Texts with a contrast below 4.5 to what is behind them (WCAG 2.2, 1.4.3).
export function faint() {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const isSolid = (color) => channels(color).length === 3 || channels(color)[3] === 1;
  const behind = (element) => {
    const svg = element.closest("svg");
    if (svg) {
      // The last solid shape before the text that covers its middle.
      const box = element.getBoundingClientRect(), x = box.left + box.width / 2, y = box.top + box.height / 2;
      let color = null;
      for (const shape of svg.querySelectorAll("rect, text")) {
        if (shape === element) break;
        if (shape.tagName !== "rect" || getComputedStyle(shape).fill === "none") continue;
        const r = shape.getBoundingClientRect();
        const covers = r.left <= x && x <= r.right && r.top <= y && y <= r.bottom;
        if (covers && isSolid(getComputedStyle(shape).fill)) color = getComputedStyle(shape).fill;
      }
      if (color) return color;
    }
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (isSolid(color)) return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, text = texts.currentNode.textContent.trim();
    if (!text || !element.getClientRects().length || ["title", "desc", "SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const ink = luminance(channels(element.closest("svg") ? style.fill : style.color));
    const paper = luminance(channels(behind(element)));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 4.5) found.add(`${text.slice(0, 30)} (${contrast.toFixed(2)})`);
  }
  return [...found];
}

/// Pictures without words for those who cannot see them; controls without a name.
export function nameless() {
  const words = (id) => document.getElementById(id)?.textContent ?? "";
  const named = (e) => [e.getAttribute("aria-label"), words(e.getAttribute("aria-labelledby")), e.labels?.[0]?.textContent, e.title]
    .some((name) => name?.trim());
  const found = [];
  document.querySelectorAll("svg").forEach((svg, i) => {
    const text = (tag) => svg.querySelector(`:scope > ${tag}`)?.textContent.trim();
    if (!["img", "group"].includes(svg.getAttribute("role")) || !text("title") || !text("desc")) found.push(`svg ${i}: ${text("title")}`);
  });
  for (const e of document.querySelectorAll("select, input, [tabindex='0']")) {
    if (!named(e)) found.push(`${e.tagName} ${e.className.baseVal ?? e.className}`);
  }
  for (const e of document.querySelectorAll("button, summary")) if (!e.textContent.trim() && !named(e)) found.push(e.tagName);
  return found;
}

/// By how much one must scroll sideways to read the page.
export function tooWide() {
  return Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/// Plots that scroll sideways.
export function scrollingPlots() {
  const plots = [...document.querySelectorAll(".plot")].filter((e) => e.scrollWidth > e.clientWidth + 1);
  return plots.map((e) => `${e.querySelector("title")?.textContent}: ${e.scrollWidth} in ${e.clientWidth}`);
}

/// Parts that scroll sideways and would scroll for a pointer only.
export function unreachable() {
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (e.scrollWidth <= e.clientWidth + 1 || !["auto", "scroll"].includes(getComputedStyle(e).overflowX)) continue;
    e.focus();
    const inside = e.querySelector("a, button, [tabindex='0']");
    if (document.activeElement !== e && !inside) found.push(`${e.tagName}.${e.className}`);
  }
  document.activeElement.blur();
  return found;
}

/// How many parts the Tab key should stop at.
export function stops() {
  const all = document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']");
  return [...all].filter((e) => e.getClientRects().length && !e.disabled).length;
}

/// Marks the part that has the focus; whether it has an outline that shows it, or null at the end.
export function focused() {
  const e = document.activeElement;
  if (!e || e === document.body || e.dataset.visited) return null;
  e.dataset.visited = "yes";
  return getComputedStyle(e).outlineStyle !== "none" || e.classList.contains("on");
}
