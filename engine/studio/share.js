// A request as JSON and as a link: of the result that is shown, of what Generate would send, of what
// Paint again would send.

import { byId, h, showDialog } from "./dom.js";
import { toHash } from "./link.js";
import { t } from "./texts.js";

export async function showJson(session) {
  const kind = session.kind;
  const place = h("pre", { tabindex: 0, id: "json" });
  const copy = h("button", {
    type: "button", text: t("copy"),
    onclick: async () => {
      const copied = await copyText(place.textContent);
      copy.textContent = t(copied ? "copied" : "copy.failed");
    },
  });
  const fill = async (chosen) => {
    try {
      place.textContent = JSON.stringify(await session.bodyOf(chosen), null, 2);
    } catch (error) {
      place.textContent = error.message;
    }
  };
  const choices = h(
    "select",
    { "aria-label": t("json.which"), onchange: () => fill(choices.value) },
    session.kinds.map((each) => h("option", { value: each, text: t(`json.${each}`) })),
  );
  choices.value = kind;
  await fill(kind);
  const note = h("p", { class: "quiet", text: t("json.note") });
  await showDialog(t("json.title"), h("div", { class: "row" }, h("div", {}, choices), copy), place, note);
}

// Copies the link of the result that is shown, or of what the page would send.
export async function copyLink(studio) {
  const { session } = studio;
  try {
    const kind = session.kind;
    history.replaceState(null, "", await toHash(await session.bodyOf(kind), session.paints(kind)));
  } catch (error) {
    studio.say(error.message);
    return;
  }
  const copied = await copyText(location.href);
  studio.say(t(copied ? "request.linked" : "request.noclipboard"), false);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
