"""Steps for datatrove's pipelines: drop documents by their bits per byte, or collect statistics of them."""

from __future__ import annotations

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.stats.base import BaseStats

from . import Model, bits_per_byte

BATCH = 256


class _Loaded:
    """A model that each process loads for itself when it first needs it: steps are copied to workers."""

    def __init__(self, name: str, precision: str | None) -> None:
        self.name, self.precision, self.model = name, precision, None

    def __getstate__(self) -> dict:
        return {"name": self.name, "precision": self.precision, "model": None}

    def bits(self, texts: list[str]) -> list[float]:
        if self.model is None:
            self.model = Model.load(self.name, self.precision)
        return [bits_per_byte(score.nats, score.bytes) for score in self.model.score(texts)]


class IteraPerplexityFilter(BaseFilter):
    """Keeps documents whose bits per byte are between `minimum` and `maximum`, and writes the figure into their
    metadata as `itera_bits_per_byte`. With `against`, a second model, the figure is the difference, as
    `itera_difference_bits_per_byte`: small for texts like those that the first model knows.
    """

    name = "Itera perplexity"

    def __init__(
        self,
        minimum: float = float("-inf"),
        maximum: float = float("inf"),
        model: str = "micro-tinystories",
        precision: str | None = None,
        against: str | None = None,
        exclusion_writer=None,
        batch_size: int = BATCH,
    ) -> None:
        super().__init__(exclusion_writer, batch_size)
        self.minimum, self.maximum = minimum, maximum
        self.model = _Loaded(model, precision)
        self.against = _Loaded(against, precision) if against else None

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        texts = [doc.text for doc in batch]
        figures, key = self.model.bits(texts), "itera_bits_per_byte"
        if self.against:
            for doc, bits in zip(batch, figures):
                doc.metadata[key] = bits
            figures = [a - b for a, b in zip(figures, self.against.bits(texts))]
            key = "itera_difference_bits_per_byte"
        results = []
        for doc, figure in zip(batch, figures):
            doc.metadata[key] = figure
            if figure < self.minimum:
                results.append((False, "below_minimum"))
            elif figure > self.maximum:
                results.append((False, "above_maximum"))
            else:
                # An empty document has no figure.
                results.append(figure == figure or (False, "empty"))
        return results


class IteraStats(BaseStats):
    """Statistics of `itera_bits_per_byte` over documents."""

    name = "Itera bits per byte"

    def __init__(self, output_folder, model: str = "micro-tinystories", precision: str | None = None, **options) -> None:
        super().__init__(output_folder, **options)
        self.model = _Loaded(model, precision)

    def extract_stats(self, doc: Document) -> dict[str, int | float]:
        if not doc.text:
            return {}
        return {"itera_bits_per_byte": self.model.bits([doc.text])[0]}
