"""The documents of rules folders, each folder over those before it: what takes whose place, and where. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leadsman_detector.documents import Document
from leadsman_detector.form import Correlation, Rule, Where
from leadsman_detector.overlays import BadOverlay, Patch, patched


class Layers:
    """Rules, filters and correlations as they are read, folder by folder."""

    def __init__(self) -> None:
        self.rules: list[Document] = []
        self.filters: list[Document] = []
        self.correlations: list[Document] = []
        self._wheres: list[Where] = []
        self._patches: list[tuple[Document, Patch]] = []
        self._before: dict[
            int, Mapping[str, int]
        ] = {}  # of each of the lists: names and ids of earlier folders, to places

    def begin(self, where: Where) -> None:
        """The next folder, and where it holds."""
        self._wheres.append(where)
        self._before = {id(kept): _places(kept) for kept in (self.rules, self.filters, self.correlations)}

    @property
    def number(self) -> int:
        """The place of the folder that is being read."""
        return len(self._wheres) - 1

    @property
    def here(self) -> Where:
        """Where it holds."""
        return self._wheres[-1]

    def where(self, document: Document) -> Where:
        """Where the folder of a document holds."""
        return self._wheres[document.layer]

    def lay(self, kept: list[Document], document: Document) -> None:
        """Add a document to one of the lists, in place of an earlier folder's of its name or id. Raises BadOverlay."""
        before = self._before[id(kept)]
        place = next((before[key] for key in _keys(document) if key in before), None)
        if place is None or kept[place].layer == document.layer:
            kept.append(document)
        elif self.here is True:
            kept[place] = document
        else:
            other = kept[place]
            raise BadOverlay(
                f"{other.name} is of {other.origin}: a folder for some clusters adds and patches, and replaces nothing"
            )

    def patch(self, document: Document, patch: Patch) -> None:
        """Keep a patch; it speaks of what stands there when its folder has been read."""
        self._patches.append((document, patch))

    def apply(self, rules: dict[str, Rule], correlations: dict[str, Correlation]) -> list[tuple[Document, str]]:
        """Apply the patches; gives those that name what is not there, with the name."""
        names = {key: d for d in (*self.rules, *self.correlations) for key in _keys(d)} if self._patches else {}
        found: dict[str, list[Patch]] = {}
        unknown = []
        for own, patch in self._patches:
            for given in patch.rules:
                document = names.get(given) or names.get(given.lower())
                if document is None:
                    unknown.append((own, given))
                elif document.layer <= own.layer:  # else a later folder has put another in its place
                    found.setdefault(document.name, []).append(patch)
        for name, patches in found.items():
            if name in rules:
                rules[name] = patched(rules[name], patches)
            if name in correlations:
                correlations[name] = patched(correlations[name], patches)
        return unknown


def _keys(document: Document) -> list[str]:
    """What a later folder's document takes its place by: its name, and its id where it has one."""
    given = str(document.data.get("id") or "").lower()
    return [document.name, *([given] if given else [])]


def _places(documents: Sequence[Document]) -> Mapping[str, int]:
    return {key: place for place, document in enumerate(documents) for key in _keys(document)}
