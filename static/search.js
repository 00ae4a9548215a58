// The page of a search fills while suppliers answer. It asks the API whether something is new,
// which is a small question, and takes the news from its own page, so that there is one template
// and one way to write a price. Nothing that somebody is reading moves: hotels are added below,
// and where they would have to stand in between, they wait until they are asked for.

const TIMEOUT_MS = 10_000;
const PAUSE_MAX_MS = 2_500;
const FAILURES_MAX = 20;

const root = document.getElementById("search");

if (root) follow(root);

function follow(root) {
  const expires_ms = Date.now() + Number(root.dataset.left);
  const list = document.getElementById("list");
  const waiting = new Map(); // cards that were in use when their news came
  let { cursor, etag } = root.dataset;
  let pause_ms = Number(root.dataset.poll);
  let failures = 0;
  let expired = false;
  let seen = "";
  let held = null;

  function lookLater(after_ms = pause_ms) {
    if (pause_ms > 0 && failures < FAILURES_MAX && !expired) setTimeout(look, after_ms);
  }

  async function look() {
    if (document.hidden) {
      document.addEventListener("visibilitychange", look, { once: true });
      return;
    }
    try {
      const answer = await ask(`${root.dataset.api}&since=${cursor}`,
        etag ? { "If-None-Match": etag } : {});
      failures = 0;
      if (answer.status === 410) return expire();
      if (answer.status === 304) {
        pause_ms = Math.min(pause_ms * 1.5, PAUSE_MAX_MS);
      } else {
        etag = answer.headers.get("ETag");
        await learn(await answer.json());
      }
    } catch (error) {
      failures += 1;
      return lookLater(error.retry_ms ?? Math.min(pause_ms * 2 ** failures, 30_000));
    }
    lookLater();
  }

  async function learn(found) {
    cursor = found.cursor;
    const now = JSON.stringify([found.is_completed, found.suppliers]);
    if (found.rates.length || now !== seen) {
      const page = await (await ask(root.dataset.here)).text();
      merge(new DOMParser().parseFromString(page, "text/html"));
    }
    seen = now;
    pause_ms = found.poll_after_ms ?? 0;
  }

  function merge(page) {
    const said = document.getElementById("suppliers").dataset.answered;
    for (const id of ["suppliers", "found", "more", "holding"]) {
      const old = document.getElementById(id);
      const fresh = page.getElementById(id);
      if (old.outerHTML !== fresh.outerHTML && !old.contains(document.activeElement)) {
        old.replaceWith(fresh);
      }
    }
    root.classList.toggle("search-done", page.getElementById("search").matches(".search-done"));
    const rows = document.getElementById("suppliers");
    if (rows.dataset.answered !== said) {
      const heading = document.getElementById("found").textContent;
      document.getElementById("news").textContent =
        `${heading}. ${rows.dataset.answered} of ${rows.children.length} suppliers have answered.`;
    }
    const fresh = page.getElementById("list");
    if (!list.querySelector(".stay[id]")) {
      list.replaceChildren(...fresh.childNodes);
    } else if (root.dataset.order === "price") {
      hold(fresh);
    } else {
      addBelow(fresh);
    }
  }

  function addBelow(fresh) {
    const stays = list.querySelector(".stays");
    for (const card of fresh.querySelectorAll(".stay[id]")) {
      const old = document.getElementById(card.id);
      if (!old) stays.append(card);
      else if (old.outerHTML !== card.outerHTML) renew(old, card);
    }
  }

  function renew(old, card) {
    if (old.contains(document.activeElement) || old.querySelector("details[open]")) {
      waiting.set(old.id, card);
    } else {
      waiting.delete(old.id);
      old.replaceWith(card);
    }
  }

  function renewWaiting() {
    for (const [id, card] of [...waiting]) renew(document.getElementById(id), card);
  }
  list.addEventListener("focusout", () => setTimeout(renewWaiting));
  list.addEventListener("toggle", () => setTimeout(renewWaiting), true);

  function hold(fresh) {
    if (list.innerHTML.trim() === fresh.innerHTML.trim()) return;
    held = fresh;
    document.getElementById("held").hidden = false;
  }
  document.querySelector("#held button").addEventListener("click", () => {
    document.getElementById("held").hidden = true;
    list.replaceChildren(...held.childNodes);
    const heading = document.getElementById("found");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  });

  function count() {
    const left_s = Math.ceil((expires_ms - Date.now()) / 1_000);
    if (left_s <= 0) return expire();
    const minutes = Math.floor(left_s / 60);
    const seconds = String(left_s % 60).padStart(2, "0");
    document.getElementById("left").textContent = `(${minutes}:${seconds} left)`;
    setTimeout(count, 1_000);
  }

  function expire() {
    if (expired) return;
    expired = true;
    root.classList.add("search-expired");
    document.getElementById("left").textContent = "";
    const text = document.createElement("p");
    const again = document.createElement("a");
    again.href = root.dataset.here;
    again.textContent = "Search again";
    text.append("These prices have expired. ", again, " for the prices of this moment.");
    document.getElementById("expired").replaceChildren(text);
    for (const button of list.querySelectorAll("a.book")) button.removeAttribute("href");
  }

  const until = document.getElementById("until");
  const time = new Date(expires_ms).toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
  until.textContent = `${time} your time`;
  count();
  lookLater();
}

async function ask(address, headers = {}) {
  const answer = await fetch(address, {
    headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok && answer.status !== 304 && answer.status !== 410) {
    const error = new Error(`status ${answer.status}`);
    const retry_s = Number(answer.headers.get("Retry-After"));
    if (retry_s > 0) error.retry_ms = retry_s * 1_000;
    throw error;
  }
  return answer;
}
