"""What is kept for a time, and what has to go for it."""

from __future__ import annotations

from fgdm.serve.store import Store


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def is_at_rest(entry: str) -> bool:
    return not entry.startswith("at work")


def test_a_store_forgets_what_is_old_or_too_much() -> None:
    clock = Clock()
    store: Store[str] = Store(10, 2, may_go=is_at_rest, clock=clock)
    first, second = store.add("at work"), store.add("b")
    clock.now = 8
    store.renew(second)
    clock.now = 12
    assert store.get(first) == "at work" and store.get(second) == "b"
    third = store.add("c")
    assert store.get(second) is None and store.get(third) == "c" and len(store) == 2
    clock.now = 30
    assert store.get(third) is None and store.get(first) == "at work"


def test_what_ended_first_goes_first() -> None:
    """Not what began first."""
    store: Store[str] = Store(10, 2)
    first, second = store.add("a"), store.add("b")
    store.renew(first)
    third = store.add("c")
    assert store.values() == ["a", "c"] and second not in store and third in store


def test_what_ends_is_there_however_much_is_at_work() -> None:
    store: Store[list[str]] = Store(10, 2, may_go=lambda entry: entry != ["at work"])
    names = [store.add(["at work"]) for _ in range(4)]
    kept = store.get(names[1])
    assert kept is not None
    kept[:] = ["ended"]
    store.renew(names[1])
    assert store.get(names[1]) == ["ended"] and len(store) == 4


def test_a_store_forgets_what_is_too_large() -> None:
    """Sizes are those of an entry that has ended; the newest stays, and what is at work."""
    sizes = {"a": 40, "b": 40, "c": 40, "huge": 200, "at work": 500}
    store: Store[str] = Store(10, 100, 100, may_go=is_at_rest, size=sizes.__getitem__)
    names = {entry: store.add(entry) for entry in ("a", "b")}
    names["c"] = store.add("c")
    assert store.values() == ["b", "c"], "together they have 80"
    store.add("huge")
    assert store.values() == ["huge"]
    store.add("at work")
    assert store.values() == ["at work"]
    sizes["at work"] = 0
    names["a"] = store.add("a")
    assert store.values() == ["at work", "a"]
    store.limit(10, 100, 30)
    sizes["b"] = 20
    store.add("b")
    assert store.values() == ["at work", "b"]
