"""What a trainer reads: the sequences of a mixture at any positions, with the documents in each.

A component is one long stream of tokens: its documents in the order of epoch 0, then of epoch 1, and so on, an EOS
after each. Its sequence k has the S tokens from k·S on as inputs and one more as the last label, so every token is an
input exactly once per epoch. Promises. Positions determine everything: batch size, ranks and workers do not.
Consumption is exact: per step the tokens sum to sequences · S. Everything is vectorised over memory-mapped files, with
no Python loop over tokens or documents. Leaves out shuffling: `mixtures.order` fixed the order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from mixtures.order import Continued, Order, document_keys, permutation


@dataclass(frozen=True)
class Batch:
    """B sequences of S inputs.

    `tokens` and `segment` are int64 [B, S+1]: token IDs, and the number of the document within the sequence, from 0 (a
    label in another segment than its input is a document's first token). `consumption` counts inputs alone: (component,
    source, sequences that hold any of it, tokens). `spans` has a row per document and sequence, inputs alone: sequence,
    component, epoch, doc_id, source, start (of the span within the document) and length, in tokens.
    """

    tokens: np.ndarray
    segment: np.ndarray
    consumption: list[tuple[str, str, int, int]]
    spans: pa.Table

    @property
    def label_mask(self) -> np.ndarray:
        """Whether each label, tokens[:, 1:], contributes to the loss: bool [B, S], False for the first token of a
        document."""
        return self.segment[:, 1:] == self.segment[:, :-1]

    @property
    def positions(self) -> np.ndarray:
        """Position of each input within its document's part of the sequence, int64 [B, S]: 0, 1, …, from 0 again where
        the next document begins."""
        inputs = self.segment[:, :-1]
        begins = np.ones_like(inputs, bool)
        begins[:, 1:] = inputs[:, 1:] != inputs[:, :-1]
        places = np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape)
        return places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)

    @property
    def boundaries(self) -> np.ndarray:
        """Where the documents of the flattened inputs [B·S] begin, and B·S at the end: int32, what attention kernels
        for packed sequences call cu_seqlens."""
        begins = np.flatnonzero(self.positions == 0)
        return np.append(begins, self.segment[:, :-1].size).astype(np.int32)


class MixtureReader:
    """Random access to the sequences of a mixture manifest. `n_sequences`, `sequence_length` (inputs), `vocab_size`.

    The first `n_inherited` sequences are those of the mixture that this one extends; 0 for any other.
    """

    def __init__(self, store: Store, manifest: Manifest):
        if manifest.kind != "mixture":
            raise UserError(f"{manifest.ref} is a {manifest.kind}; tokens are read from a mixture", "See `octo mix`")
        self.sequence_length = int(manifest.recipe["sequence_length"])
        self.vocab_size, self.eos_id = int(manifest.recipe["vocab_size"]), int(manifest.recipe["eos_id"])
        components = manifest.read("components", ["component", "sequences"])
        self.order = order_of(manifest.recipe, components["sequences"].to_pylist())
        self.n_sequences = self.order.n_sequences
        self.n_inherited = int(manifest.recipe.get("first", {}).get("sequences", 0))
        members = manifest.read("members", ["component", "doc_id", "source", "n_tokens", "token_start"])
        self._components = [_Component(manifest, name, members) for name in components["component"].to_pylist()]

    def batch(self, positions: np.ndarray) -> Batch:
        """The sequences at `positions` (int, [B]), in that order. IndexError outside [0, n_sequences)."""
        positions, length = np.asarray(positions, np.int64), self.sequence_length
        which, index = self.order.at(positions)
        tokens = np.empty((len(positions), length + 1), np.int64)
        segment = np.empty_like(tokens)
        consumption, spans = [], [_NO_SPANS]
        for number in np.unique(which):
            component, rows = self._components[number], np.flatnonzero(which == number)
            pieces = component.pieces(index[rows] * length, length + 1)
            tokens[rows] = component.read(pieces).reshape(len(rows), -1)
            segment[rows] = np.repeat(_counted(pieces.window), pieces.length).reshape(len(rows), -1)
            inputs = pieces.without_last_token()
            consumption += component.consumption(inputs)
            spans.append(component.spans(inputs, rows))
        table = pa.concat_tables(spans)
        table = table.take(np.argsort(table["sequence"].to_numpy(), kind="stable"))
        sequences = pa.array(positions[table["sequence"].to_numpy()])
        return Batch(tokens, segment, consumption, table.set_column(0, "sequence", sequences))

    def tokens_read(self, sequences: dict[str, int]) -> pa.Table:
        """The documents behind the first sequences of each component (their number by its name), and the inputs read
        of each: component, source, doc_id and tokens, without documents of which none were read. No token is read."""
        known = [component.tokens_read(sequences.get(component.name, 0) * self.sequence_length)
                 for component in self._components]  # fmt: skip
        return pa.concat_tables(known)

    def sequences_with(self, doc_id: str) -> np.ndarray:
        """Positions of the sequences that read any of a document, ascending, through all epochs. Empty for a document
        that the mixture does not hold. int64."""
        found = [
            self.order.positions(number, component.windows_of(doc_id, self.sequence_length, count))
            for number, (component, count) in enumerate(zip(self._components, self.order.counts, strict=True))
        ]
        return np.sort(np.concatenate(found))


def order_of(recipe: dict[str, Any], counts: list[int]) -> Order | Continued:
    """The order of a mixture of `counts[i]` sequences of component i. The `recipe` of an extended one names its parts:
    what each part apportioned, and how many of its sequences are read before the next."""
    first, *others = recipe.get("parts", [{"sequences": sum(counts), "counts": counts}])
    order, read = Order(first["counts"]), first["sequences"]
    for part in others:
        order, read = Continued(order, read, part["counts"]), read + part["sequences"]
    return order


_NO_SPANS = pa.schema(
    [
        ("sequence", pa.int64()),
        ("component", pa.string()),
        ("epoch", pa.int64()),
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("start", pa.int64()),
        ("length", pa.int64()),
    ]
).empty_table()


def _counted(groups: np.ndarray) -> np.ndarray:
    """Position of each element within its run of equal elements: [4, 4, 7, 7, 7] gives [0, 1, 0, 1, 2]."""
    first = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    return np.arange(len(groups)) - np.repeat(first, np.diff(np.append(first, len(groups))))


@dataclass(frozen=True)
class _Pieces:
    """Pieces of documents that make up windows of one component, in reading order. All int64 [P].

    `window` counts the windows asked for, `document` is the ordinal in the token file, `start` the first token within
    the document, `length` the tokens. No piece is empty.
    """

    window: np.ndarray
    epoch: np.ndarray
    document: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def without_last_token(self) -> "_Pieces":
        """The same windows, each one token shorter: inputs without the look-ahead."""
        length = self.length - np.append(self.window[1:] != self.window[:-1], True)
        kept = length > 0
        columns = (self.window, self.epoch, self.document, self.start, length)
        return _Pieces(*(column[kept] for column in columns))


class _Component:
    """The stream of one component through its epochs."""

    def __init__(self, manifest: Manifest, name: str, members: pa.Table):
        members = members.filter(pc.equal(members["component"], name)).combine_chunks()
        self.name, self.seed = name, int(manifest.recipe["seed"])
        self.doc_ids = members["doc_id"]
        sources = pc.dictionary_encode(members["source"]).combine_chunks()
        self.sources, self.source = sources.dictionary.to_pylist(), sources.indices.to_numpy().astype(np.int64)
        self.starts, self.counts = members["token_start"].to_numpy(), members["n_tokens"].to_numpy()
        self.n_tokens = int(self.counts.sum())
        file = manifest.local("tokens").get(f"{name}.ds")
        self.tokens = np.memmap(file, token_type(manifest), "r") if file else np.empty(0, token_type(manifest))
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def pieces(self, starts: np.ndarray, length: int) -> _Pieces:
        """The windows of `length` tokens of the stream at `starts`, cut at documents. Documents are numbered through
        all epochs, so that a window may run over the end of one."""
        first, last = self._document_at(starts), self._document_at(starts + length - 1)
        window = np.repeat(np.arange(len(starts)), last - first + 1)
        epoch, place = np.divmod(first[window] + _counted(window), len(self.counts))
        document, begin = np.empty_like(epoch), np.empty_like(epoch)
        for number in np.unique(epoch):
            here = epoch == number
            order, begins = self._epoch(int(number))
            document[here], begin[here] = order[place[here]], begins[place[here]] + number * self.n_tokens
        start = np.maximum(begin, starts[window])
        end = np.minimum(begin + self.counts[document], starts[window] + length)
        return _Pieces(window, epoch, document, start - begin, end - start)

    def _document_at(self, tokens: np.ndarray) -> np.ndarray:
        """Number, through all epochs, of the document that holds each token of the stream."""
        epoch, token = np.divmod(tokens, self.n_tokens)
        place = np.empty_like(epoch)
        for number in np.unique(epoch):
            here = epoch == number
            place[here] = np.searchsorted(self._epoch(int(number))[1], token[here], "right") - 1
        return epoch * len(self.counts) + place

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents in the order of an epoch, and where each begins in it. The latest two epochs are kept: no window of
        a mixture runs over more, unless a component is shorter than a sequence."""
        if epoch == 0:
            return np.arange(len(self.counts)), self.starts  # the file stands in the order of the first epoch
        if epoch not in self._orders:
            while len(self._orders) >= 2:
                del self._orders[next(iter(self._orders))]
            order = permutation(document_keys(self.doc_ids), self.seed, self.name, epoch)
            counts = self.counts[order]
            self._orders[epoch] = order, np.cumsum(counts) - counts
        return self._orders[epoch]

    def windows_of(self, doc_id: str, length: int, count: int) -> np.ndarray:
        """Which of the first `count` windows of `length` inputs hold any of a document, through all epochs. int64."""
        (places,) = np.nonzero(pc.equal(self.doc_ids, doc_id).to_numpy(zero_copy_only=False))
        windows = [np.empty(0, np.int64)]
        for epoch in range(-(-int(count) * length // self.n_tokens) if len(places) else 0):
            order, begins = self._epoch(epoch)
            begin = begins[np.isin(order, places)] + epoch * self.n_tokens
            last = (begin + self.counts[places] - 1) // length
            windows += [np.arange(first, end + 1) for first, end in zip(begin // length, last, strict=True)]
        found = np.unique(np.concatenate(windows))
        return found[found < count]

    def tokens_read(self, inputs: int) -> pa.Table:
        """How many of the first `inputs` tokens of the stream are of each document."""
        epochs, rest = divmod(inputs, self.n_tokens) if self.n_tokens else (0, 0)
        read = self.counts * epochs
        order, begins = self._epoch(epochs)
        read[order] += np.clip(rest - begins, 0, self.counts[order])
        held = np.flatnonzero(read)
        sources = pa.array(self.sources).take(pa.array(self.source[held]))
        names = ["component", "source", "doc_id", "tokens"]
        return pa.table([pa.repeat(self.name, len(held)), sources, self.doc_ids.take(held), read[held]], names=names)

    def read(self, pieces: _Pieces) -> np.ndarray:
        """The tokens of all pieces, concatenated."""
        begin = self.starts[pieces.document] + pieces.start - (np.cumsum(pieces.length) - pieces.length)
        return self.tokens[np.repeat(begin, pieces.length) + np.arange(int(pieces.length.sum()))]

    def consumption(self, pieces: _Pieces) -> list[tuple[str, str, int, int]]:
        """(component, source, sequences, tokens) of each source, by name."""
        source, n = self.source[pieces.document], len(self.sources)
        tokens = np.bincount(source, pieces.length, n).astype(np.int64)  # exact: float64 holds integers to 2⁵³
        sequences = np.bincount(np.unique(pieces.window * n + source) % n, minlength=n)
        rows = zip(self.sources, sequences.tolist(), tokens.tolist(), strict=True)
        return [(self.name, name, held, read) for name, held, read in sorted(rows) if held]

    def spans(self, pieces: _Pieces, rows: np.ndarray) -> pa.Table:
        """The table of `Batch.spans`, with rows of the batch in the place of sequences."""
        n = len(pieces.window)
        columns = [
            rows[pieces.window],
            pa.repeat(self.name, n),
            pieces.epoch,
            self.doc_ids.take(pieces.document),
            pa.array(self.sources).take(pa.array(self.source[pieces.document])),
            pieces.start,
            pieces.length,
        ]
        return pa.table(columns, names=_NO_SPANS.schema.names)


def token_type(manifest: Manifest) -> np.dtype:
    """Type of the IDs in the token files of a mixture."""
    return np.dtype("<u2") if manifest.recipe["vocab_size"] <= 1 << 16 else np.dtype("<u4")
