// The service: requests, errors in words, events that survive a lost connection.

import { h, showDialog } from "./dom.js";
import { t } from "./texts.js";

export class ServiceError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function headers() {
  const key = sessionStorage.getItem("fgdm-key");
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function call(method, path, body, signal) {
  const answer = await fetch(path, {
    method,
    signal,
    headers: body === undefined ? headers() : { ...headers(), "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401 && (await askForKey())) return call(method, path, body, signal);
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    throw new ServiceError(answer.status, error?.message ?? answer.statusText, error?.code);
  }
  return answer;
}

export const get = async (path) => (await call("GET", path)).json();
export const post = async (path, body, signal) => (await call("POST", path, body, signal)).json();
export const remove = async (path) => (await call("DELETE", path)).json();
export const blob = async (path) => (await call("GET", path)).blob();

let asking = null;
function askForKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

async function ask() {
  const field = h("input", { type: "password", autocomplete: "off", "aria-label": t("key.label") });
  let given = false;
  const use = (event) => {
    event.preventDefault();
    given = true;
    sessionStorage.setItem("fgdm-key", field.value.trim());
    event.target.closest("dialog").close();
  };
  const form = h(
    "form",
    { class: "row", onsubmit: use },
    field,
    h("button", { class: "primary", text: t("key.use") }),
  );
  await showDialog(t("key.ask"), form);
  return given;
}

// Calls `tell` with each event of a job until it has ended, and `lost` with true while the
// connection is lost, with false when it is back. Throws ServiceError for a job that is gone.
export async function follow(id, tell, lost, signal) {
  let wait = 250;
  let isLost = false;
  for (;;) {
    try {
      const answer = await call("GET", `/v1/studio/jobs/${id}/events`, undefined, signal);
      if (isLost) lost((isLost = false));
      wait = 250;
      for await (const event of read(answer.body)) {
        tell(event);
        if (["done", "failed", "cancelled"].includes(event.status)) return;
      }
    } catch (error) {
      if (signal.aborted || (error instanceof ServiceError && error.status < 500)) throw error;
    }
    lost((isLost = true));
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(4000, wait * 2);
  }
}

async function* read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const data = text.slice(0, end).split("\n").find((line) => line.startsWith("data: "));
      text = text.slice(end + 2);
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}
