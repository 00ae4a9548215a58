// Two comforts; every page works without them.
"use strict";

// A form that has been sent is not sent again by a second click. (The server would answer the
// second with the first order anyway: the form carries its own key.)
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  form.querySelector("button[type=submit]").setAttribute("aria-disabled", "true");
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-once]")) {
    delete form.dataset.sent;
    form.querySelector("button[type=submit]").removeAttribute("aria-disabled");
  }
});

// While an order is under way its page looks again by itself. It is replaced only when something
// changed, the focus stays where it was, and a live region says what is new.
const TIMEOUT_MS = 10_000;
const FAILURES_MAX = 20;
let failures = 0;

function lookAgainLater() {
  const main = document.getElementById("main");
  const pause_s = Number(main.dataset.refresh || 0);
  if (pause_s > 0 && failures < FAILURES_MAX) {
    setTimeout(lookAgain, pause_s * 1_000 * (1 + failures));
  }
}

async function lookAgain() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", lookAgain, { once: true });
    return;
  }
  try {
    const answer = await fetch(location.href, {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    failures = 0;
  } catch {
    failures += 1;
  }
  lookAgainLater();
}

function show(next) {
  const old = document.getElementById("main");
  const fresh = next.getElementById("main");
  if (old.outerHTML === fresh.outerHTML) return;
  const focused = document.activeElement?.id;
  const said = old.dataset.news;
  old.replaceWith(fresh);
  document.title = next.title;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (fresh.dataset.news !== said) {
    document.getElementById("news").textContent = fresh.dataset.news;
  }
}

lookAgainLater();
