"use strict";
// Sorts and filters tables, draws the charts, typesets mathematics. Runs from a file, without network: plotly.js and
// KaTeX lie in the page, compressed, unless the page has loaded them.

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = button.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = head.classList.contains("n"), sign = down ? -1 : 1;
    const key = row => {
      const cell = row.cells[head.cellIndex];
      return numeric ? (cell.dataset.v === "" ? -Infinity : Number(cell.dataset.v)) : cell.textContent;
    };
    const order = (a, b) => (numeric ? key(a) - key(b) || 0 : key(a).localeCompare(key(b), undefined, {numeric: true}));
    body.append(...[...body.rows].sort((a, b) => sign * order(a, b)));
  });
}

// A table of some length has a field above it: rows that hold every word of it stay
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 8) continue;
  const said = rows.map(row => [...row.cells].map(cell => cell.textContent.toLowerCase()).join("\n"));
  const field = document.createElement("input");
  Object.assign(field, {type: "search", placeholder: `Filter ${rows.length} rows`, className: "filter"});
  field.setAttribute("aria-label", "filter the table");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    rows.forEach((row, at) => { row.hidden = !words.every(word => said[at].includes(word)); });
  });
  table.before(field);
}

const charts = JSON.parse(document.getElementById("charts").textContent);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed(layout) {
  const axis = {
    automargin: true, gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false,
    title: {font: {size: 12}}, fixedrange: matchMedia("(pointer: coarse)").matches,
  };
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "x unified", bargap: 0.06,
    font: {family: colour("--sans"), size: 12, color: colour("--ink-2")},
    hoverlabel: {bgcolor: colour("--card"), bordercolor: colour("--line"), font: {color: colour("--ink")}},
    legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: {size: 12}, traceorder: "normal"},
    margin: {l: 8, r: 8, t: 8, b: 8}, uirevision: "same",
    ...structuredClone(layout),
  };
  for (const name of ["xaxis", "yaxis"]) {
    const own = whole[name] || {};
    whole[name] = {...axis, ...own, title: {...axis.title, ...own.title}};
  }
  for (const shape of whole.shapes || []) shape.line = {color: colour("--ink-2"), width: 1, dash: "dot"};
  return whole;
}

function draw() {
  const settings = {responsive: true, displayModeBar: false};
  for (const [name, {data, layout}] of Object.entries(charts)) {
    const traces = structuredClone(data);
    for (const trace of traces) if (trace.type === "sankey") trace.textfont = {color: colour("--ink")};
    Plotly.react(name, traces, themed(layout), settings);
  }
}

// Mathematics as texts write it: $$…$$, \[…\], \(…\), environments, and $…$ by Pandoc's rule, which leaves prices alone:
// no space behind the first dollar or before the last, no digit behind that, no empty line between
const MATHEMATICS = new RegExp([
  /\$\$(?<dollars>[^]{1,4000}?)\$\$/,
  /\\\[(?<brackets>[^]{1,4000}?)\\\]/,
  /(?<block>\\begin\{(?<name>(?:equation|align|alignat|gather|CD)\*?)\}[^]{1,4000}?\\end\{\k<name>\})/,
  /\\\((?<parentheses>[^]{1,1000}?)\\\)/,
  /(?<![\\$])\$(?![\s$])(?<inline>(?:\\[^]|[^\\$\n]|\n(?!\s*\n)){1,1000}?)(?<!\s)\$(?![\d$])/,
].map(part => part.source).join("|"), "g");
const KATEX = {strict: "ignore", maxSize: 50, errorColor: "currentColor"};

function typeset(text) {
  const node = text.firstChild, source = node.data;
  for (const found of [...source.matchAll(MATHEMATICS)].reverse()) {  // from the end, so that places stay where they are
    const {dollars, brackets, block, parentheses, inline} = found.groups, span = document.createElement("span");
    const display = dollars ?? brackets ?? block;
    const macros = {"\\mbox": "\\text"};  // a new one each time, since \gdef would write into it
    try {
      katex.render(display ?? parentheses ?? inline, span, {...KATEX, macros, displayMode: display !== undefined});
    } catch {
      continue;  // what KaTeX refuses stays as it is written
    }
    span.title = found[0];
    node.splitText(found.index + found[0].length);
    node.splitText(found.index).replaceWith(span);
  }
  text.dataset.typeset = "yes";
}

// Only what is looked at: a page may hold some thousand formulas, most of them in parts that nobody opens
const near = new IntersectionObserver(seen => {
  for (const {isIntersecting, target} of seen) if (isIntersecting) typesetOnce(target);
}, {rootMargin: "50%"});

function typesetOnce(text) {
  near.unobserve(text);
  if (!text.dataset.typeset && text.firstChild?.nodeType === Node.TEXT_NODE) typeset(text);
}

async function mathematics() {
  await load("katex");
  if (window.katex) for (const text of document.querySelectorAll(".text")) near.observe(text);
}
mathematics();

async function inflate(packed) {
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function load(name) {
  const packed = document.getElementById(name);
  if (!packed) return;
  const script = document.createElement("script");
  script.textContent = await inflate(packed.textContent);
  document.head.append(script);
}

async function start() {
  if (!Object.keys(charts).length) return;
  await load("plotly");
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);
  document.documentElement.dataset.drawn = "yes";
}
start();

addEventListener("beforeprint", () => {
  if (window.katex) document.querySelectorAll(".text").forEach(typesetOnce);
});
addEventListener("beforeprint", () => {  // paper is narrower than the screen: let charts shrink to it
  for (const picture of document.querySelectorAll(".plot .main-svg")) {
    picture.setAttribute("viewBox", `0 0 ${picture.getAttribute("width")} ${picture.getAttribute("height")}`);
  }
});
addEventListener("afterprint", () => {
  for (const picture of document.querySelectorAll(".plot .main-svg")) picture.removeAttribute("viewBox");
});
