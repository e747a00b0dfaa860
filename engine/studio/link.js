// A link that holds a whole request, maps included: deflated JSON after #r=, or after #p= where it
// paints the map on the page.

async function through(stream, bytes) {
  const out = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(out).arrayBuffer());
}

export async function toHash(request, isPaint = false) {
  const bytes = await through(
    new CompressionStream("deflate-raw"),
    new TextEncoder().encode(JSON.stringify(request)),
  );
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000)
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return `#${isPaint ? "p" : "r"}=${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

// {request, isPaint} of a hash; null where there is none. Throws where it can't be read.
export async function fromHash(hash) {
  if (!/^#[rp]=/.test(hash)) return null;
  const text = atob(hash.slice(3).replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = await through(
    new DecompressionStream("deflate-raw"),
    Uint8Array.from(text, (letter) => letter.charCodeAt(0)),
  );
  const request = JSON.parse(new TextDecoder().decode(bytes));
  if (typeof request?.prompt !== "string") throw new Error("no prompt");
  return { request, isPaint: hash[1] === "p" };
}
