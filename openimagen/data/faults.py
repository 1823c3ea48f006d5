"""What was wrong with a data set: counted exactly, named up to a limit."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

NAMES, KINDS = 1000, 50  # remembered


class Faults:
    """What could not be used: name -> reason for the first `names`, and counts of all.

    A name that is remembered is counted once; whoever adds more than `names` takes care not to
    repeat itself.
    """

    def __init__(self, named: Mapping[str, str] | None = None, names: int = NAMES) -> None:
        self.names = names
        self.named: dict[str, str] = {}
        self.unnamed: Counter[str] = Counter()  # by kind of reason
        self.add(named or {})

    def __len__(self) -> int:
        """All of them."""
        return len(self.named) + self.unnamed.total()

    def add(self, faults: Mapping[str, str]) -> None:
        """Take down name -> reason."""
        for name, reason in faults.items():
            if name in self.named:
                continue
            if len(self.named) < self.names:
                self.named[name] = reason
            else:
                self._count(kind_of(reason), 1)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind, the most frequent first."""
        return dict((Counter(map(kind_of, self.named.values())) + self.unnamed).most_common())

    def state_dict(self) -> dict[str, Any]:
        """Names and counts, in plain types."""
        return {"named": dict(self.named), "unnamed": dict(self.unnamed)}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another has, from its `state_dict`."""
        self.add(state["named"])
        for kind, count in state["unnamed"].items():
            self._count(kind, count)

    def _count(self, kind: str, count: int) -> None:
        known = kind in self.unnamed or len(self.unnamed) < KINDS
        self.unnamed[kind if known else "other reasons"] += count


def kind_of(reason: str) -> str:
    """What reasons have in common: the words up to a colon, without their numbers."""
    return re.sub(r"\b(?<!-)\d+", "#", reason.partition(": ")[0])  # but for UTF-8
