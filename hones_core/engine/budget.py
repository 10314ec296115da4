"""Memory of the fast engine, from sizes alone.

Symbols: L layers, d width, a width of the heads' outputs, m neurons, V vocabulary, s bytes of a
number, k bytes of a token's keys and values in one layer, S columns of a row (prompt, draft and
target), reads: columns whose logits are wanted. All results are bytes. They are upper bounds of
what is alive at once, attention counted as where no kernel saves its scores.
"""

from dataclasses import dataclass

from hones_core.engine.lengths import Lengths
from hones_core.engine.shapes import Shape

ANSWERS, CANDIDATES, PROMPTS = "answers", "candidates", "prompts"


@dataclass(frozen=True)
class Sizes:
    """How much is done at once: samples (queries) in a chunk, interventions in a replay, rows in a
    decode, rows for one query's candidates."""

    samples: int = 1
    copies: int = 1
    decode_rows: int = 1
    candidate_rows: int = 10


def trace_bytes(shape: Shape, columns: int, reads: int) -> int:
    """The base trace of one row.

    Below the top layer heads and middle of all columns, in it of the reads: (a + d) s each; keys
    and values of all columns in all layers; final states d s at the reads.
    """
    both = (shape.attention + shape.width) * shape.value_bytes
    states = (shape.layers - 1) * columns * both + reads * both if reads else 0
    if not reads:  # a prefix that is only looked back at: its top layer gives keys and values
        states = (shape.layers - 1) * columns * both
    final = reads * shape.width * shape.value_bytes
    return states + keys_values_bytes(shape, columns, shape.layers) + final


def keys_values_bytes(shape: Shape, columns: int, layers: int) -> int:
    """Keys and values of one row: k for each column and layer."""
    return columns * layers * shape.key_value_bytes


def segment_bytes(shape: Shape, columns: int, context: int) -> int:
    """One row's input: embeddings d s, cosine and sine 2 d_h s, a mask of one byte per pair."""
    return columns * ((shape.width + 2 * shape.head_dim) * shape.value_bytes + context)


def layer_bytes(shape: Shape, columns: int, context: int) -> int:
    """What one layer needs of one row while it runs, the larger of attention and FFN.

    The residual stream four times (4 d s); FFN: m (s + 8), which is three of gate, up and product,
    or product and its float32 scaling, and the norm's float32 copies; attention: queries and
    outputs (4 a s), the context's keys and values twice (put behind each other) and once for every
    query head (2 a s), scores and their softmax in float32 (8 H per pair).
    """
    s = shape.value_bytes
    residual = 4 * columns * shape.width * s
    norm = 8 * columns * shape.width
    ffn = columns * shape.ffn * (s + 8)
    attention = 4 * columns * shape.attention * s + context * 2 * shape.attention * s
    attention += 2 * context * shape.key_value_bytes + 8 * shape.heads * columns * context
    return residual + norm + max(ffn, attention)


def logits_bytes(shape: Shape, reads: int) -> int:
    """Logits of one row in float32, the scored ones gathered and normalised: 13 bytes each."""
    return 13 * reads * shape.vocabulary


def pool_bytes(shape: Shape, columns: int, room: int, waiting: bool = True) -> int:
    """One row of the decode pool: its keys and values, with room for new tokens, while they are
    copied there also as they wait; one layer's in passing; a step's logits and layer."""
    kept = keys_values_bytes(shape, columns + room, shape.layers)
    if waiting:
        kept += keys_values_bytes(shape, columns, shape.layers)
    passing = 2 * keys_values_bytes(shape, columns + room, 1)
    return kept + passing + 5 * shape.vocabulary + layer_bytes(shape, 1, columns + room)


def answers_peak(shape: Shape, lengths: Lengths, sizes: Sizes) -> int:
    """Generation: the larger of drafting, tracing, and replaying while rows wait and decode."""
    columns, reads = lengths.columns, 1 + lengths.nodes
    room, rows = lengths.answer, sizes.copies * sizes.samples
    own = trace_bytes(shape, columns, reads) + segment_bytes(shape, columns, columns)
    layer = layer_bytes(shape, columns, columns)
    drafting = sizes.samples * trace_bytes(shape, lengths.prompt, 1)
    drafting += min(sizes.decode_rows, sizes.samples) * pool_bytes(
        shape, lengths.prompt, room, waiting=False
    )
    tracing = sizes.samples * (own + layer)
    replayed = keys_values_bytes(shape, columns, shape.layers - 1)
    waiting = sizes.decode_rows * keys_values_bytes(shape, columns, shape.layers)
    replaying = sizes.samples * own + waiting + rows * (replayed + layer)
    verifying = sizes.samples * own + rows * (replayed + logits_bytes(shape, reads))
    verifying += sizes.decode_rows * pool_bytes(shape, columns, room)
    return max(drafting, tracing, replaying, verifying)


def candidates_peak(shape: Shape, lengths: Lengths, sizes: Sizes) -> int:
    """Ranking: the prefix once a query, its candidates in `candidate_rows` rows that look back at
    it; each row gets the prefix's keys and values of one layer for itself."""
    groups = min(sizes.candidate_rows, lengths.candidates)
    in_row = -(-lengths.candidates // groups)
    columns, context = in_row * lengths.suffix, lengths.prefix + in_row * lengths.suffix
    prefix = trace_bytes(shape, lengths.prefix, 0)
    prefix += segment_bytes(shape, lengths.prefix, lengths.prefix)
    row = trace_bytes(shape, columns, in_row) + segment_bytes(shape, columns, context)
    layer = max(
        layer_bytes(shape, lengths.prefix, lengths.prefix),
        groups
        * (layer_bytes(shape, columns, context) + keys_values_bytes(shape, lengths.prefix, 1)),
    )
    replayed = keys_values_bytes(shape, lengths.prefix + groups * columns, shape.layers - 1)
    copied = segment_bytes(shape, columns, context) * groups  # masks of the copies
    once = sizes.samples * (prefix + groups * row)
    passes = sizes.copies * sizes.samples * (replayed + copied + layer)
    return once + max(passes, sizes.samples * layer) + logits_bytes(shape, lengths.candidates)


def prompts_peak(shape: Shape, lengths: Lengths, sizes: Sizes) -> int:
    """Neuron effects: prompts alone, replayed; z of the last token (m L, float32) six times."""
    columns = lengths.prompt
    once = trace_bytes(shape, columns, 1) + segment_bytes(shape, columns, columns)
    replayed = keys_values_bytes(shape, columns, shape.layers - 1)
    replayed += layer_bytes(shape, columns, columns)
    neurons = 24 * shape.layers * shape.ffn * (1 + sizes.copies)
    weight = 4 * shape.width * shape.ffn  # one layer's down_proj in float32
    return sizes.samples * (once + neurons + sizes.copies * replayed) + weight


def steering_peak(shape: Shape, lengths: Lengths, rows: int) -> int:
    """One optimiser step from the lowest layer on: what autograd keeps of every column and layer.

    FFN: gate, up and their product, 3 m s, and 4 m for the bank's product in float32; the inputs of
    both norms in float32, 8 d; queries, keys, values and outputs of all heads, 4 a s; at the reads
    logits, their softmax and gradients of student and teacher.
    """
    s = shape.value_bytes
    columns = lengths.prompt + lengths.target
    token = shape.ffn * (3 * s + 4) + 8 * shape.width + 4 * shape.attention * s
    logits = 6 * 4 * shape.vocabulary * lengths.target
    return rows * (shape.layers * columns * token + logits + layer_bytes(shape, columns, columns))


PEAKS = {ANSWERS: answers_peak, CANDIDATES: candidates_peak, PROMPTS: prompts_peak}
