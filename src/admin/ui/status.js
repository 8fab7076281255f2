// Keeps the figures current: fetches the page again and replaces its live part.
"use strict";

const PERIOD_MS = 3000;
const follow = document.getElementById("follow");
const lost = document.getElementById("lost");

async function update() {
  const response = await fetch("/", { cache: "no-store" });
  if (!response.ok) throw new Error(response.status);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const live = document.getElementById("live");
  const open = [...live.querySelectorAll("details[open]")].map((details) => details.id);
  live.replaceChildren(...page.getElementById("live").children);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
}

async function tick() {
  // A hidden page asks for nothing; what somebody is selecting or tabbing through is left alone.
  const live = document.getElementById("live");
  const busy = !document.getSelection().isCollapsed || live.contains(document.activeElement);
  if (follow.checked && !document.hidden && !busy) {
    try {
      await update();
      lost.textContent = "";
    } catch {
      lost.textContent = "weir does not answer";
    }
  }
  setTimeout(tick, PERIOD_MS);
}

setTimeout(tick, PERIOD_MS);
