"""Wu, Papyan 2024: how far a language model collapses.

"Linguistic collapse: neural collapse in (large) language models" (NeurIPS 2024, arXiv 2405.17767),
known here by its abstract and summaries. The classes of a causal language model are its words: more
of them than dimensions, of very different frequency, and one context has several continuations.
Models are trained on TinyStories. With scale and training the variability within words (CDNV)
falls, class means spread evenly over the sphere, the alignment of classifier and class means
becomes uniform, which says more than how large it is, and agreement with the nearest class mean
grows; these go with validation loss.

Here a Transformer of two blocks is trained on a grammar whose probabilities are known exactly, and
on the documentation that comes with Python. What ties between contexts do to the optimum, the
certificate on the grammar, all controls and all numbers are this course's.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import cross_entropy

from ncourse.claims import Claim, DataCard, Outcome
from ncourse.comparisons import above, at_least, at_most, below, every, over, proved
from ncourse.data import OTHER, Dataset, Grammar, grammar, python_docs
from ncourse.metrics import by_class, hyperspherical_uniformity, measure
from ncourse.models import CausalTransformer
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.tables import Table
from ncourse.ties import solve_tied

__all__ = [
    "Setting",
    "claims",
    "claims_over_grids",
    "experiment",
    "face_nc1",
    "faces",
    "grammar_table",
    "kinds",
    "read",
    "text_table",
    "ties",
    "train_on_grammar",
    "train_on_text",
]

WU = "Wu, Papyan 2024 (abstract and summaries); the numbers: this course, on other text"
COURSE = "This course"
GRAMMAR = "sentences of a made-up grammar; no data set"

# --- ties -----------------------------------------------------------------------------------------

TIES_DECAY = 5e-3


def faces(num_words: int, size: int) -> Float[Tensor, "contexts words"]:
    """Every set of so many words as a context, in which each of them is equally likely next.

    >>> faces(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    """
    sets = list(itertools.combinations(range(num_words), size))
    shares = torch.zeros(len(sets), num_words, dtype=torch.float64)
    for row, members in enumerate(sets):
        shares[row, list(members)] = 1 / size
    return shares


def face_nc1(num_words: int, size: int) -> float:
    """NC1 by next word, trace ratio, at the optimum for `faces`: K (m-1) / (K-m).

    Whatever the weight decay: 0 where a context has one next word, more where it has several.

    Source: this course, chapter 11.

    >>> face_nc1(4, 1), face_nc1(4, 2)
    (0.0, 2.0)
    """
    if not 1 <= size < num_words:
        raise ValueError(f"size is {size}; expected 1 to {num_words - 1} of {num_words} words")
    return num_words * (size - 1) / (num_words - size)


def ties(weight_decay: float = TIES_DECAY) -> Table:
    """The optimum where contexts share words: sets of words, and two words with the same contexts.

    Returns:
        Columns case, words, size, nc1, predicted_nc1, cosine (mean between two words' classifier
        rows), spread (their standard deviation: 0 in a simplex).
    """
    rows = []
    for words, size in ((4, 1), (4, 2), (5, 2), (5, 3)):
        row = {"case": f"{size} of {words}", "words": words, "size": size}
        rows.append(row | _solved(faces(words, size), weight_decay, face_nc1(words, size)))
    synonyms = torch.eye(4, dtype=torch.float64)
    synonyms[:2] = torch.tensor([0.5, 0.5, 0, 0], dtype=torch.float64)
    row = {"case": "synonyms", "words": 4, "size": 1}
    rows.append(row | _solved(synonyms, weight_decay, 0.0))
    return Table.of(rows)


def _solved(shares: Tensor, weight_decay: float, predicted: float) -> dict[str, float]:
    found = solve_tied(shares, weight_decay)
    cosines = off_diagonal(cosine_matrix(found.weight - found.weight.mean(0)))
    return {
        "nc1": found.nc1,
        "predicted_nc1": predicted,
        "cosine": cosines.mean().item(),
        "spread": cosines.std().item(),
    }


# --- a grammar ------------------------------------------------------------------------------------

GRAMMAR_STEPS, GRAMMAR_DECAY, LENGTH, BATCH = 500, 1e-4, 24, 32
GRAMMAR_MEASURED = (0, 10, 20, 50, 100, 200, 350, 500, 1000)


def kinds(language: Grammar) -> Int[Tensor, " states"]:
    """The kind of each state: states with the same probabilities of the next word are of one."""
    return torch.unique(language.shares.round(decimals=12), dim=0, return_inverse=True)[1]


def train_on_grammar(
    language: Grammar,
    *,
    seed: int,
    shuffled: bool = False,
    dim: int = 16,
    depth: int = 2,
    steps: int = GRAMMAR_STEPS,
    learning_rate: float = 1e-2,
    progress: bool = True,
) -> tuple[CausalTransformer, Table]:
    """A Transformer on sentences that it sees once each; its last LayerNorm is on the sphere.

    Adam, cosine schedule, lambda/2 times all squared parameters.

    Args:
        language: what is drawn from.
        seed: of the initial weights and of what is drawn.
        shuffled: whether the words of all sentences are dealt out anew: nothing to learn but how
            frequent they are.
        dim: of the stream.
        depth: blocks.
        steps: of 32 texts of 24 words.
        learning_rate: at the start.
        progress: whether to show a bar.

    Returns:
        The network, and a table of step, loss (mean cross-entropy of new text), objective (with
        weight decay), nc1_kind and nc1_word: the trace ratio by kind of state and by next word.
    """
    size = len(language.words)
    network = CausalTransformer(
        tokens=LENGTH, num_classes=size, vocabulary=size, depth=depth, dim=dim, seed=seed
    )
    texts, _ = language.draw(BATCH * steps, LENGTH + 1, seed=1000 + seed)
    new, states = language.draw(200, LENGTH + 1, seed=2000 + seed)
    if shuffled:
        generator = torch.Generator().manual_seed(seed)
        texts, new = (_dealt(words, generator) for words in (texts, new))
    kind = kinds(language)[states[:, :-1].flatten()]
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 100)
    rows = []
    for step in progress_bar(range(steps + 1), desc="grammar", disable=not progress):
        if step in GRAMMAR_MEASURED or step == steps:
            features, labels, loss = read(network, new)
            squares = sum(p.double().square().sum().item() for p in network.parameters())
            by_kind, by_word = (
                measure(features, y, num_classes=k, min_samples=2).trace_ratio
                for y, k in ((kind, int(kind.max()) + 1), (labels, size))
            )
            objective = loss + GRAMMAR_DECAY / 2 * squares
            rows.append(
                {"step": step, "loss": loss, "objective": objective, "nc1_kind": by_kind,
                 "nc1_word": by_word}
            )  # fmt: skip
        if step < steps:
            batch = texts[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            data_loss = cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            decay = sum(p.square().sum() for p in network.parameters())
            (data_loss + GRAMMAR_DECAY / 2 * decay).backward()
            optimizer.step()
            schedule.step()
    return network, Table.of(rows)


def _dealt(words: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(words.numel(), generator=generator)
    return words.flatten()[order].view_as(words)


@torch.no_grad()
def read(
    network: CausalTransformer, texts: Int[Tensor, "texts words"]
) -> tuple[Float[Tensor, "places dim"], Int[Tensor, " places"], float]:
    """Features of all places but the last of each text, what comes next, the mean cross-entropy."""
    features, labels = network.states(texts[:, :-1]).flatten(0, 1), texts[:, 1:].flatten()
    return features, labels, cross_entropy(network.classifier(features), labels).item()


def grammar_table(*, seed: int, steps: int = GRAMMAR_STEPS, progress: bool = True) -> Table:
    """The grammar and, as the control, its words shuffled, beside the optimum with ties.

    Returns:
        The columns of `train_on_grammar`, and run, entropy, limit_loss, limit_nc1.
    """
    language = grammar()
    best = solve_tied(language.joint, GRAMMAR_DECAY)
    known = {"entropy": language.entropy, "limit_loss": best.loss, "limit_nc1": best.nc1}
    rows = []
    for run, shuffled in (("grammar", False), ("shuffled", True)):
        _, table = train_on_grammar(
            language, seed=seed, shuffled=shuffled, steps=steps, progress=progress
        )
        rows += [{"run": run} | row | known for row in table.rows()]
    return Table.of(rows)


# --- English --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A Transformer on text.

    Attributes:
        name: of the run.
        dim: of the stream.
        depth: blocks.
        shuffled: whether the words of the text are dealt out anew.
        tied: whether the classifier is the embedding.
        weight_decay: of AdamW.
    """

    name: str
    dim: int = 32
    depth: int = 2
    shuffled: bool = False
    tied: bool = False
    weight_decay: float = 0.1


PLAIN = Setting("plain")
SHUFFLED = Setting("shuffled", shuffled=True)
GRID = tuple(
    Setting(f"{dim} x {depth}", dim=dim, depth=depth) for dim in (16, 32, 64) for depth in (1, 2, 4)
)
CONTROLS = (
    SHUFFLED,
    Setting("tied", tied=True),
    Setting("no weight decay", weight_decay=0.0),
    Setting("weight decay 1", weight_decay=1.0),
)
CONTEXT, LEAST = 32, 20
RICH = 60  # places of each word that a text needs, so that 20 are among those that are measured
TEXT_STEPS = {"laptop": (0, 100, 400), "workstation": (0, 100, 300, 600)}


def train_on_text(
    dataset: Dataset, setting: Setting, *, seed: int, steps: Sequence[int], progress: bool = True
) -> tuple[CausalTransformer, Table]:
    """A Transformer of practice on a text, the labels of a data set in their order.

    AdamW at 3e-3, cosine schedule to a tenth, 32 random windows of 32 words a step.

    Args:
        dataset: whose labels are the text, training and test.
        setting: the network, and what is done to the text.
        seed: of weights and windows.
        steps: when to measure; the last is the end of training.
        progress: whether to show a bar.

    Returns:
        The network, and a table of step, loss (on the test text), train_loss, and of the training
        text, by next word: words (with at least 20 places; the rest is about these), cdnv,
        uniformity (of centred class means), alignment and alignment_std (of classifier rows with
        them), agreement (share of places where network and nearest class mean agree), frequency
        (rank correlation of a word's count with its CDNV), frequency_equal (the same with 20 places
        of each word).
    """
    size = dataset.num_classes
    generator = torch.Generator().manual_seed(seed)
    text, test = dataset.labels, dataset.test_labels
    if setting.shuffled:
        text, test = (_dealt(words, generator) for words in (text, test))
    network = CausalTransformer(
        tokens=CONTEXT, num_classes=size, vocabulary=size, depth=setting.depth, dim=setting.dim,
        tied=setting.tied, trainable_scale=True, seed=seed,
    )  # fmt: skip
    if setting.tied:
        with torch.no_grad():
            network.embedding.weight *= setting.dim**-0.5  # logits of the usual size
    last = max(steps)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=setting.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, last, 3e-4)
    seen, new = _windows(text)[:500], _windows(test)[:500]
    rows: list[dict[str, float]] = []
    for step in progress_bar(range(last + 1), desc=setting.name, disable=not progress):
        if step in steps:
            rows.append({"step": step, "loss": read(network, new)[2]})
            rows[-1] |= _measured(network, seen, dataset.class_names)
        if step < last:
            starts = torch.randint(len(text) - CONTEXT, (BATCH,), generator=generator)
            batch = text[starts[:, None] + torch.arange(CONTEXT + 1)]
            optimizer.zero_grad()
            cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
            optimizer.step()
            schedule.step()
    return network, Table.of(rows)


def _windows(text: Tensor) -> Tensor:
    """Pieces of the text, each beginning with the last word of the one before it."""
    count = (len(text) - 1) // CONTEXT
    return text[CONTEXT * torch.arange(count)[:, None] + torch.arange(CONTEXT + 1)]


def _measured(network: CausalTransformer, texts: Tensor, words: Sequence[str]) -> dict[str, float]:
    features, labels, loss = read(network, texts)
    weight = network.classifier.weight.detach()
    if words[-1] == OTHER:  # many words under one name
        kept = labels != len(words) - 1
        features, labels = features[kept], labels[kept]
    report = measure(features, labels, weight, min_samples=LEAST)
    found = by_class(features, labels, weight, min_samples=LEAST)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=generator)
    rank = torch.nn.functional.one_hot(labels[order], len(words)).cumsum(0)
    alike = order[rank.gather(1, labels[order][:, None]).squeeze(1) <= LEAST]
    equal = by_class(features[alike], labels[alike], weight, min_samples=LEAST)
    return {
        "train_loss": loss,
        "words": len(found.classes),
        "cdnv": report.cdnv,
        "uniformity": hyperspherical_uniformity(found.class_means - found.class_means.mean(0)),
        "alignment": found.alignment.mean().item(),
        "alignment_std": found.alignment.std().item(),
        "agreement": 1 - report.nc4,
        "frequency": _rank_correlation(found.counts, found.cdnv),
        "frequency_equal": _rank_correlation(found.counts, equal.cdnv),
    }


def _rank_correlation(one: Tensor | Sequence[float], other: Tensor | Sequence[float]) -> float:
    """Spearman's; nan where one of the two does not vary, so has no ranks."""
    first, second = np.asarray(one), np.asarray(other)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def text_table(
    dataset: Dataset, settings: Sequence[Setting], *, seed: int, steps: Sequence[int]
) -> Table:
    """Several networks on one text.

    Returns:
        The columns of `train_on_text`, and run, dim, depth.
    """
    rows: list[dict[str, str | float]] = []
    for setting in settings:
        _, table = train_on_text(dataset, setting, seed=seed, steps=steps)
        about: dict[str, str | float] = {
            "run": setting.name,
            "dim": setting.dim,
            "depth": setting.depth,
        }
        rows += [{**about, **row} for row in table.rows()]
    return Table.of(rows)


# --- the experiment, and what it asserts ----------------------------------------------------------


def _judge(tables: Mapping[str, Table], scale: str, card: DataCard) -> tuple[Claim, ...]:
    return claims_over_grids([tables]) if "grid" in tables else claims(tables)


def _judge_seeds(outcomes: Sequence[Outcome]) -> tuple[Claim, ...]:
    grids = [outcome.tables for outcome in outcomes if "grid" in outcome.tables]
    return claims_over_grids(grids) if len(grids) > 1 else ()


@declared(
    scales={
        "laptop": "less than a minute on one core",
        "workstation": "nine sizes and four controls on the text; five minutes on one core",
    },
    refused={
        "paper": "the models of the paper's grid and their training are known here in outline only"
    },
    data=lambda scale, seed: python_docs(),
    needs={"classes": 2, "training samples": RICH, "test samples": CONTEXT // 2 + 1},
    resumable=False,
    judge=_judge,
    judge_seeds=_judge_seeds,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """How far a small Transformer collapses on words: one seed.

    The caller's own data take the place of the text: their labels, in their order, are read as
    words.

    Returns:
        An `Outcome` with the tables "ties", "grammar" and "text"; at "workstation" with "grid".
    """
    steps, seed = TEXT_STEPS[asked.scale], asked.seed
    if asked.scale == "workstation":
        return {"grid": text_table(dataset, [*GRID, *CONTROLS], seed=seed, steps=steps)}
    return {
        "ties": ties(),
        "grammar": grammar_table(seed=seed),
        "text": text_table(dataset, [PLAIN, SHUFFLED], seed=seed, steps=steps),
    }


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    return (
        _ties_claim(tables["ties"]),
        *_grammar_claims(tables["grammar"]),
        *_text_claims(tables["text"]),
    )


def _ties_claim(table: Table) -> Claim:
    rows = {row["case"]: row for row in table.rows()}
    several = [row for row in table.rows() if row["size"] > 1]
    return Claim.of(
        "Where each context allows m of K words alike, the words' classifier rows are a simplex "
        "all the same, and NC1 by next word is K(m-1)/(K-m), not 0; with one word each it is 0; "
        "where two words always share their contexts there is no simplex",
        {
            "NC1 off K(m-1)/(K-m)": proved(
                every(at_most(1e-4, abs(row["nc1"] - row["predicted_nc1"])) for row in several)
            ),
            "spread of cosines": proved(every(at_most(1e-4, row["spread"]) for row in several)),
        },
        f"{COURSE}, proof in chapter 11",
        {
            "one word: NC1": proved(at_most(1e-4, rows["1 of 4"]["nc1"])),
            "two words alike: spread of cosines": above(0.3, rows["synonyms"]["spread"]),
        },
        data="free features; no data set",
        fixed_data=True,
    )


def _grammar_claims(table: Table) -> tuple[Claim, ...]:
    end, control = (table.where(run=run).last for run in ("grammar", "shuffled"))
    return (
        Claim.of(
            "A Transformer on the grammar makes its features a function of what may come next: NC1 "
            "by kind of context ends at {0:.} or less, and NC1 by next word within {1:%} of that "
            "of the optimum with ties; on shuffled words NC1 by kind stays above {2}",
            {
                "NC1 by kind": at_most(0.03, end["nc1_kind"]),
                "NC1 by word, off the optimum's": at_most(
                    0.2, abs(over(end["nc1_word"], end["limit_nc1"]) - 1)
                ),
                "NC1 by word": end["nc1_word"],
            },
            f"{COURSE}, measured",
            {"shuffled: NC1 by kind": above(10.0, control["nc1_kind"])},
            data=GRAMMAR,
            fixed_data=True,
        ),
        Claim.of(
            "Its loss with weight decay ends within {0:%} of the optimum with ties; with shuffled "
            "words it stays further than {1} times that optimum",
            {"off the optimum": at_most(0.1, abs(over(end["objective"], end["limit_loss"]) - 1))},
            f"{COURSE}, measured",
            {
                "shuffled, over the optimum": above(
                    1.5, over(control["objective"], end["limit_loss"])
                )
            },
            data=GRAMMAR,
            fixed_data=True,
        ),
    )


def _gap(row: Mapping[str, Any]) -> float:
    """How much less evenly class means are spread than a simplex."""
    count = row["words"]
    return float(np.log(2 * count / (count - 1))) / 2 - row["uniformity"]


def _text_claims(table: Table) -> tuple[Claim, ...]:
    plain, shuffled = (list(table.where(run=run).rows()) for run in ("plain", "shuffled"))
    start, early, end, control = plain[0], plain[1], plain[-1], shuffled[-1]
    return (
        Claim.of(
            "On English, CDNV by next word falls to {0:.} of its value or less, classifier rows "
            "and class means align to {1:.} or more and network and nearest class mean agree at "
            "{2:%} of all places or more; on the same words shuffled CDNV keeps {3:%}, alignment "
            "stays below {4:.}, agreement below {5:%}",
            {
                "CDNV, end over start": at_most(0.6, over(end["cdnv"], start["cdnv"])),
                "alignment": at_least(0.5, end["alignment"]),
                "agreement": at_least(0.1, end["agreement"]),
            },
            WU,
            {
                "shuffled: CDNV": at_least(0.8, over(control["cdnv"], shuffled[0]["cdnv"])),
                "shuffled: alignment": below(0.25, control["alignment"]),
                "shuffled: agreement": below(0.02, control["agreement"]),
            },
        ),
        Claim.of(
            "Alignment becomes uniform: its standard deviation over words falls to {0:.} or less "
            "of its value after 100 steps; on shuffled words it keeps {1:.}",
            {
                "standard deviation, end over early": at_most(
                    0.85, over(end["alignment_std"], early["alignment_std"])
                )
            },
            WU,
            {
                "shuffled": at_least(
                    0.75, over(control["alignment_std"], shuffled[1]["alignment_std"])
                )
            },
        ),
        Claim.of(
            "Even spreading alone is no sign of learning: class means of the trained network are "
            "at least {0} times further from a simplex (in hyperspherical uniformity) than those "
            "of the untrained one, and those on shuffled words are nearer still",
            {"trained over untrained": at_least(1.2, over(_gap(end), _gap(start)))},
            f"{COURSE}, measured",
            {"shuffled over untrained": below(1.0, over(_gap(control), _gap(start)))},
        ),
        Claim.of(
            "That frequent words look less collapsed is mostly counting: on shuffled words the "
            "rank correlation of count and CDNV is {0:.} or more; with equally many places of each "
            "word less than {1:.}",
            {"shuffled": at_least(0.7, control["frequency"], natural="rate")},
            f"{COURSE}, measured",
            {"shuffled, equal counts": below(0.3, abs(control["frequency_equal"]))},
        ),
    )


def claims_over_grids(runs: Sequence[Mapping[str, Table]]) -> tuple[Claim, ...]:
    """What the grids of some seeds assert, on average over them."""
    grid: dict[tuple[str, int], dict[str, float]] = {}
    tables = [run["grid"] for run in runs]
    for row in tables[0].rows():
        same = [table.where(run=row["run"], step=row["step"]).last for table in tables]
        grid[row["run"], row["step"]] = {
            name: float(np.mean([other[name] for other in same])) for name in row if name != "run"
        }
    last = max(step for _, step in grid)
    sizes = [setting for setting in GRID if (setting.name, last) in grid]

    def at(setting: Setting | str, name: str, step: int = last) -> float:
        return grid[setting if isinstance(setting, str) else setting.name, step][name]

    def with_loss(name: str) -> float:
        return _rank_correlation([at(s, "loss") for s in sizes], [at(s, name) for s in sizes])

    def grown(one: Setting, other: Setting) -> float:
        """CDNV of another size over one, beside that of the two before training."""
        trained = over(at(other, "cdnv"), at(one, "cdnv"))
        return over(trained, over(at(other, "cdnv", 0), at(one, "cdnv", 0)))

    named = {(setting.dim, setting.depth): setting for setting in sizes}
    widths, depths = (sorted({size[i] for size in named}) for i in (0, 1))
    deeper = [grown(named[d, depths[0]], named[d, depths[-1]]) for d in widths]
    wider = [grown(named[widths[0], depth], named[widths[-1], depth]) for depth in depths]
    which = "one seed" if len(runs) == 1 else f"mean of {len(runs)} seeds"
    made = (
        Claim.of(
            "Nine sizes of network: CDNV ends at {0:.} of its untrained value or less in each; on "
            f"shuffled words it keeps {{1:%}} ({which})",
            {
                "CDNV, end over start": every(
                    at_most(0.6, over(at(s, "cdnv"), at(s, "cdnv", 0))) for s in sizes
                )
            },
            WU,
            {"shuffled": at_least(0.8, over(at("shuffled", "cdnv"), at("shuffled", "cdnv", 0)))},
        ),
        Claim.of(
            "Over the sizes, validation loss goes with how uniform the alignment is (rank "
            "correlation {0:.} or more) and with agreement ({1:.} or less), better than with how "
            f"large the alignment is ({which})",
            {
                "standard deviation of the alignment": at_least(
                    0.8, with_loss("alignment_std"), natural="rate"
                ),
                "agreement": at_most(-0.8, with_loss("agreement")),
            },
            WU,
            {
                "size of the alignment": below(
                    with_loss("alignment_std"),
                    abs(with_loss("alignment")),
                    measured=True,
                    natural="rate",
                )
            },
        ),
        Claim.of(
            "One matrix for embedding and classifier lowers the alignment by {0:.} or more and "
            f"leaves the loss within {{1:%}}; weight decay raises it by {{2:.}} or more ({which})",
            {
                "alignment lost": at_least(
                    0.06, at("32 x 2", "alignment") - at("tied", "alignment")
                ),
                "loss off": at_most(0.02, abs(over(at("tied", "loss"), at("32 x 2", "loss")) - 1)),
            },
            f"{COURSE}, measured",
            {
                "alignment gained by weight decay 1": at_least(
                    0.03, at("weight decay 1", "alignment") - at("no weight decay", "alignment")
                )
            },
        ),
    )
    if len(runs) == 1:
        return made  # of one seed, width's change is within a tenth too, but not by a fifth of it
    return (
        *made,
        Claim.of(
            "More blocks lower CDNV, at each width to {0:.} or less beside untrained networks of "
            "the same sizes; more width changes it as much before training as after, to within "
            f"{{1:%}} on average over depths ({which})",
            {"depth": every(at_most(0.9, ratio) for ratio in deeper)},
            f"{COURSE}, measured",
            {"width": at_most(0.1, abs(float(np.mean(wider)) - 1))},
        ),
    )
