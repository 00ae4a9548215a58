// What differs per visitor, after everybody's page stands; and filters that apply as they are set.
"use strict";

const hotel = document.querySelector("main .hotel[data-hotel]");
const live = document.getElementById("live");

async function fillIn() {
  const answer = await fetch(`/hotels/${encodeURIComponent(hotel.dataset.hotel)}/visit`, {
    method: "POST",
    signal: AbortSignal.timeout(5_000),
  });
  if (!answer.ok) return;
  const found = await answer.json();
  const said = [];
  if (found.lowest_rate) {
    said.push(`Found live just now: ${found.lowest_rate.text}, ${found.lowest_rate.nights}`);
  }
  if (found.is_seen) said.push("You have looked at it before");
  if (found.interested_people > 1) {
    said.push(`${found.interested_people} people looked at it today`);
  }
  live.textContent = said.slice(0, 2).join(" · ");
}

if (hotel && live) fillIn().catch(() => {});

// A filter applies as soon as it is set; without this, by the form's own button.
document.querySelector(".filters")?.addEventListener("change", (event) => {
  if (event.target.matches("[type=checkbox], [type=radio], select")) event.target.form.requestSubmit();
});

// A form that was left by the back button must show what its own page lists.
window.addEventListener("pageshow", () => document.querySelector(".filters")?.reset());

// Empty fields need not stand in the address.
document.addEventListener("submit", (event) => {
  if (!event.target.matches(".filters")) return;
  for (const field of event.target.elements) {
    if (field.name && field.value === "") field.disabled = true;
  }
  setTimeout(() => { for (const field of event.target.elements) field.disabled = false; });
});
