// Asks for the page again every half minute and puts its new panels in place of the old ones: nothing jumps, and nobody
// loses their place. A page in the background, or one in which somebody is at a link of a panel, waits. It asks once at a
// time, however slow the answer is, and gives up on one that does not come.
"use strict";
const panels = document.getElementById("fresh");
const made = document.getElementById("made");
const age = document.getElementById("age");
const pause = document.getElementById("pause");
const every = 30_000;
let still = "still" in panels.dataset;
let asking = false;
let arrived = Date.now();

function mayChange() {
  return !still && !document.hidden && !panels.contains(document.activeElement);
}

function sayAge() {
  age.textContent = `, ${Math.round((Date.now() - arrived) / 1000)} s ago${still ? ", paused" : ""}`;
}

async function again() {
  if (asking || !mayChange()) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(4 * every) });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Somebody may have come to a panel, or have paused the page, meanwhile.
    if (!mayChange()) return;
    panels.replaceChildren(...page.getElementById("fresh").childNodes);
    made.textContent = page.getElementById("made").textContent;
    arrived = Date.now();
  } catch {
    // It cannot be reached, or the log-in is over. The age grows, and says so.
  } finally {
    asking = false;
  }
}

if (pause) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Pause" });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    still = !still;
    button.setAttribute("aria-pressed", String(still));
    if (!still) again();
    sayAge();
  });
  pause.replaceWith(button);
}
setInterval(sayAge, 1000);
setInterval(again, every);
