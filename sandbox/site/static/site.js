// What a script adds to pages that work without one: news without a reload, and how far an upload has come.
"use strict";

// -- news ----------------------------------------------------------------------

// A part is not exchanged while somebody is in it: their place would be lost.
function exchange(part, fresh) {
  if (part.innerHTML !== fresh.innerHTML && !part.contains(document.activeElement)) {
    part.innerHTML = fresh.innerHTML;
  }
}

async function look() {
  if (document.hidden) return;
  try {
    // In the language of this page, whatever another window has chosen since.
    const here = new URL(location.href);
    here.searchParams.set("lang", document.documentElement.lang);
    const reply = await fetch(here, { headers: { "X-Requested-With": "fetch" } });
    if (!reply.ok) return;
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh) exchange(part, fresh);
    }
  } catch {
    // Nothing is lost by missing one look: the next one comes.
  }
}

const live = document.querySelector("[data-live-page]");
if (live) {
  const again = () => look().finally(() => setTimeout(again, Number(live.dataset.livePage)));
  setTimeout(again, Number(live.dataset.livePage));
}

// -- uploads -------------------------------------------------------------------

function send(form) {
  const bar = form.querySelector("progress");
  const words = form.querySelector("[data-progress-words]");
  const call = new XMLHttpRequest();
  call.open("POST", form.action);
  call.setRequestHeader("X-Requested-With", "XMLHttpRequest");
  call.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    bar.value = Math.floor((100 * event.loaded) / event.total);
    words.textContent = bar.value < 100 ? `${bar.value} %` : words.dataset.progressWords;
  });
  call.addEventListener("load", () => {
    try {
      location.assign(JSON.parse(call.responseText).go);
    } catch {
      form.submit();
    }
  });
  call.addEventListener("error", () => form.submit());
  form.querySelector("[data-progress]").hidden = false;
  call.send(new FormData(form));
}

for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.querySelector("button").disabled = true;
    send(form);
  });
}

// -- what went wrong -------------------------------------------------------------

document.querySelector("#errors, #trouble")?.focus();
