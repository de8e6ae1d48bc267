"use strict";
// Keeps a comparison up to date while its runs train. page.js has drawn the charts; `charts` and `draw` are its own.

const EVERY = 3000, AFTER_FAILURE = 10000;
const shown = document.querySelector("[data-live]");
const status_ = document.getElementById("status");

async function refresh() {
  if (document.hidden) return setTimeout(refresh, EVERY);
  try {
    const answer = await fetch(shown.dataset.live);
    if (!answer.ok) throw new Error(answer.statusText);
    const now = await answer.json();
    if (Object.keys(now.charts).length !== Number(shown.dataset.charts)) return location.reload();
    document.getElementById("now").innerHTML = now.table;  // escaped by the server, and no script in it would run
    Object.assign(charts, now.charts);
    draw();
    status_.textContent = now.live ? `live, ${new Date().toLocaleTimeString()}` : "all runs have ended";
    shown.dataset.updates = Number(shown.dataset.updates || 0) + 1;
    if (now.live) setTimeout(refresh, EVERY);
  } catch (error) {
    status_.textContent = `no answer from octo ui (${error.message}); trying again`;
    setTimeout(refresh, AFTER_FAILURE);
  }
}
if (shown) setTimeout(refresh, EVERY);
