"""A language model of 190 kB that scores text: how many bits it needs for each byte.

>>> model = Model.load("micro-tinystories", precision="int4")
>>> [(nats, size, tokens)] = model.score(["Once upon a time there was a cat."])

Scores are those of the program `itera-validate score` to the last bit. No call holds the interpreter's lock while it
computes, and `score` uses all cores.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from .native import NativeModel, Session

if TYPE_CHECKING:
    import numpy

__all__ = ["Model", "Score", "State", "TokenScore", "bits_per_byte", "models"]

Text = str | bytes


class Score(NamedTuple):
    """What a model makes of a text."""

    nats: float
    """Negative log-likelihood."""
    bytes: int
    """Bytes of the text in UTF-8."""
    tokens: int
    """Tokens of the text."""


class TokenScore(NamedTuple):
    """What a model makes of a token."""

    token: int
    """Its id."""
    text: bytes
    """The bytes that it stands for."""
    nats: float
    """Negative log-likelihood."""
    rank: int
    """1 for the token that the model expects most."""


def bits_per_byte(nats: float, size: int) -> float:
    """Bits per byte of a text of `size` bytes; NaN of an empty one."""
    return nats / math.log(2) / size if size else math.nan


def models() -> list[str]:
    """Names of the models inside."""
    found = (entry.name for entry in files(__package__).joinpath("models").iterdir())
    names = (name.removesuffix(".safetensors") for name in found if name.endswith(".safetensors"))
    return sorted(name for name in names if "." not in name)


def _bytes(text: Text) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)


class Model:
    """A model with its tokenizer. Any number of threads may use it at once."""

    def __init__(self, native: NativeModel) -> None:
        self._native = native

    @classmethod
    def load(cls, name: str | os.PathLike[str] = "micro-tinystories", precision: str | None = None) -> Model:
        """The model of a name (see `models`) or of a checkpoint file.

        `precision` is fp32, int8 or int4; without it, that of the file. Raises `ValueError` if there is no such model.
        """
        name = os.fspath(name)
        inside = files(__package__).joinpath("models", f"{name}.safetensors")
        return cls(NativeModel.load(str(inside) if inside.is_file() else name, precision))

    def __repr__(self) -> str:
        return f"<itera_lite.Model {self.name} {self.precision}, kernel {self._native.kernel}>"

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self._native.name

    @property
    def precision(self) -> str:
        """fp32, int8 or int4."""
        return self._native.precision

    @property
    def sha256(self) -> str:
        """Digest of the checkpoint file."""
        return self._native.sha256

    @property
    def vocab_size(self) -> int:
        """Tokens, end-of-text among them."""
        return self._native.vocab_size

    @property
    def end_of_text(self) -> int:
        """Id of the token between documents."""
        return self._native.end_of_text

    def score(self, texts: Iterable[Text]) -> list[Score]:
        """The likelihood of each text, each from a fresh state."""
        texts = [_bytes(text) for text in texts]
        scores = self._native.score(texts)
        return [Score(nats, len(text), tokens) for text, (nats, tokens) in zip(texts, scores)]

    def score_arrays(self, texts: Iterable[Text]) -> dict[str, numpy.ndarray]:
        """The same as NumPy arrays `nats`, `bytes` and `tokens`; `pyarrow.table` takes them as they are."""
        import numpy

        texts = [_bytes(text) for text in texts]
        nats, tokens = self._native.score_arrays(texts)
        return {
            "nats": numpy.frombuffer(nats, dtype=numpy.float64),
            "bytes": numpy.array([len(text) for text in texts], dtype=numpy.uint64),
            "tokens": numpy.frombuffer(tokens, dtype=numpy.uint64),
        }

    def token_scores(self, text: Text, context: Sequence[int] = ()) -> list[TokenScore]:
        """The likelihood and rank of each token of a text, behind end-of-text and the tokens of `context`."""
        return self._named(self._native.token_scores(_bytes(text), list(context)))

    def scores_of_tokens(self, tokens: Sequence[int], context: Sequence[int] = ()) -> list[TokenScore]:
        """The same of tokens."""
        return self._named(self._native.scores_of_tokens(list(tokens), list(context)))

    def _named(self, scores: list[tuple[int, float, int]]) -> list[TokenScore]:
        name = self._native.token_bytes
        return [TokenScore(token, name(token), nats, rank) for token, nats, rank in scores]

    def tokenize(self, text: Text) -> list[int]:
        """The tokens of a text; end-of-text is never among them."""
        return self._native.tokenize(_bytes(text))

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of tokens."""
        return self._native.detokenize(list(tokens))

    def state(self, text: Text = "") -> State:
        """What the model remembers after reading a text: 38 kB, however long the text."""
        return State(self._native.session(_bytes(text)))

    def restore(self, saved: bytes) -> State:
        """The state that `State.save` has written. Raises `ValueError` for that of another model."""
        return State(self._native.restore(saved))

    def generate(
        self,
        prompt: Text | State = "",
        *,
        max_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Goes on with a text, or with a state, which stays as it is: piece by piece until end-of-text or `max_tokens`.

        Temperature 0 takes the most probable token always. Equal seeds give equal texts.
        """
        state = prompt if isinstance(prompt, State) else self.state(prompt)
        session = state._session.copy()
        session.sample_by(temperature, top_k, top_p, seed)
        for _ in range(max_tokens):
            piece = session.next()
            if piece is None:
                return
            if piece:
                yield piece


class State:
    """What a model remembers of a text."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, text: Text) -> None:
        """Reads on."""
        self._session.read(_bytes(text))

    def copy(self) -> State:
        """Another state that remembers the same."""
        return State(self._session.copy())

    def save(self) -> bytes:
        """The state as bytes, for `Model.restore`."""
        return self._session.save()
