// Sends a request from the page of the API's description and shows the answer. Nothing is kept, not even the token.
"use strict";

const LONGEST = 20000;

function bodyOf(form, headers) {
  const text = form.querySelector("textarea");
  const file = form.querySelector("input[type=file]");
  if (text) {
    headers["Content-Type"] = "application/json";
    return text.value;
  }
  if (!file) return undefined;
  const parts = new FormData();
  for (const field of form.querySelectorAll("[data-in=form]")) {
    const value = field.files ? field.files[0] : field.value;
    if (value) parts.append(field.name, value);
  }
  return parts;
}

async function send(form) {
  const fields = [...form.querySelectorAll("[data-in]")].filter((field) => field.value !== "");
  const given = (where) => fields.filter((field) => field.dataset.in === where);
  let path = form.dataset.path;
  for (const field of given("path")) path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
  const query = new URLSearchParams(given("query").map((field) => [field.name, field.value])).toString();
  const headers = Object.fromEntries(given("header").map((field) => [field.name, field.value]));
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = bodyOf(form, headers);
  const answer = await fetch(path + (query && `?${query}`), { method: form.dataset.method, headers, body });
  const text = await answer.text();
  const isJson = (answer.headers.get("Content-Type") || "").startsWith("application/json");
  const shown = isJson ? JSON.stringify(JSON.parse(text), null, 2) : text;
  return `${answer.status} ${answer.statusText}\n${shown.slice(0, LONGEST)}`;
}

for (const form of document.querySelectorAll("form.try")) {
  form.closest("details").hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("output");
    shown.textContent = "…";
    shown.textContent = await send(form).catch((error) => String(error));
  });
}
document.getElementById("signing-in").hidden = false;
