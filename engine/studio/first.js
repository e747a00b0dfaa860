// What the page shows first: its theme, words and icons. Once they are painted the rest is fetched,
// so that no module stands between somebody and the page.

import { byId, fillTexts } from "./dom.js";

const theme = localStorage.getItem("fgdm-theme");
if (theme) document.documentElement.dataset.theme = theme;
fillTexts(document);

function fetchTheRest() {
  document.head.append(byId("modules").content);
  import("./main.js");
}

// A tab in the background paints nothing.
if (document.hidden) fetchTheRest();
else requestAnimationFrame(() => setTimeout(fetchTheRest));
