// Pointers on a view: one draws, two pinch, the middle button and Alt with the wheel do the rest.

const SLIP = 6; // screen pixels that a finger may move before it draws

// handlers: down(point, event), move(points, event, events): those that the browser had put
// together, up(event), cancel(), wheel(direction) that may return true. A finger counts once it
// moves or lifts, so that two of them move the view and nothing else; once a pen is down, fingers
// are the hand that holds it, also those that were there before.
export function follow(view, handlers) {
  const { element } = view;
  const down = new Map();
  let pinch = null;
  let panning = null;
  let waiting = null; // a finger that does nothing yet
  let pen = null;

  const begin = () => {
    const event = waiting;
    waiting = null;
    if (event) handlers.down(view.at(event), event);
  };

  element.addEventListener("pointerdown", (event) => {
    element.focus({ preventScroll: true });
    event.preventDefault();
    if (pen !== null && event.pointerType === "touch") return;
    element.setPointerCapture(event.pointerId);
    if (event.pointerType === "pen") {
      if (down.size && !waiting && !pinch && !panning) handlers.cancel?.();
      down.clear();
      waiting = pinch = panning = null;
      pen = event.pointerId;
    }
    down.set(event.pointerId, event);
    if (event.button === 1) {
      panning = event;
    } else if (down.size === 2) {
      if (waiting) waiting = null;
      else handlers.cancel?.();
      pinch = spread([...down.values()]);
    } else if (down.size === 1 && event.pointerType === "touch") waiting = event;
    else if (down.size === 1 && (event.button === 0 || event.button === 5)) handlers.down(view.at(event), event);
  });

  element.addEventListener("pointermove", (event) => {
    handlers.hover?.(view.at(event), event);
    if (!down.has(event.pointerId)) return;
    down.set(event.pointerId, event);
    if (panning) {
      view.pan(event.clientX - panning.clientX, event.clientY - panning.clientY);
      panning = event;
    } else if (pinch && down.size === 2) {
      const now = spread([...down.values()]);
      const box = element.getBoundingClientRect();
      view.pan(now.x - pinch.x, now.y - pinch.y);
      view.zoom(now.distance / pinch.distance, now.x - box.left, now.y - box.top);
      pinch = now;
    } else if (!pinch) {
      if (waiting && Math.hypot(event.clientX - waiting.clientX, event.clientY - waiting.clientY) < SLIP) return;
      begin();
      const all = event.getCoalescedEvents?.() ?? [];
      const events = all.length ? all : [event];
      handlers.move(events.map((each) => view.at(each)), event, events);
    }
  });

  const end = (event) => {
    if (pen === event.pointerId) pen = null;
    if (!down.delete(event.pointerId)) return;
    const wasOther = panning || pinch;
    if (!down.size) panning = pinch = null;
    if (wasOther) return;
    if (event.type === "pointercancel") {
      waiting = null;
      handlers.cancel?.();
      return;
    }
    begin();
    handlers.up(event);
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  element.addEventListener("pointerleave", () => handlers.leave?.());

  element.addEventListener(
    "wheel",
    (event) => {
      if (event.altKey && handlers.wheel?.(Math.sign(-event.deltaY))) {
        event.preventDefault();
        return;
      }
      // A wheel without focus scrolls the page, so that nobody is caught on the way down.
      if (!event.ctrlKey && document.activeElement !== element) return;
      const box = element.getBoundingClientRect();
      view.zoom(2 ** (-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
      event.preventDefault();
    },
    { passive: false },
  );
}

function spread([a, b]) {
  return {
    x: (a.clientX + b.clientX) / 2,
    y: (a.clientY + b.clientY) / 2,
    distance: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
  };
}
