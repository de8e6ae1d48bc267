"use strict";
// Sorts tables and draws the charts. Runs from a file, without network: plotly.js lies in the page, compressed, unless
// the page has loaded it.

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
    Plotly.react(name, structuredClone(data), themed(layout), settings);
  }
}

async function inflate(packed) {
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function start() {
  if (!Object.keys(charts).length) return;
  const packed = document.getElementById("plotly");
  if (packed) {
    const script = document.createElement("script");
    script.textContent = await inflate(packed.textContent);
    document.head.append(script);
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);
  document.documentElement.dataset.drawn = "yes";
}
start();

addEventListener("beforeprint", () => {  // paper is narrower than the screen: let charts shrink to it
  for (const picture of document.querySelectorAll(".plot .main-svg")) {
    picture.setAttribute("viewBox", `0 0 ${picture.getAttribute("width")} ${picture.getAttribute("height")}`);
  }
});
addEventListener("afterprint", () => {
  for (const picture of document.querySelectorAll(".plot .main-svg")) picture.removeAttribute("viewBox");
});
