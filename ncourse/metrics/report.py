"""What `measure` returns: a report of all variants, and the conventions that papers follow."""

import math
from dataclasses import dataclass

__all__ = ["CONVENTIONS", "CollapseReport", "Convention"]


@dataclass(frozen=True)
class Convention:
    """How one line of papers forms means and covariances, and what it calls NC1."""

    global_mean: str  # mean of the "class means" or of all "samples"
    class_weights: str  # p_c in S_B: "uniform", 1/K, or "samples", n_c/N
    nc1: str  # the field of `CollapseReport` that it calls NC1


CONVENTIONS = {
    "papyan": Convention("class means", "uniform", "pinv_trace"),
    "zhu": Convention("samples", "uniform", "pinv_trace_per_class"),
    "jacot": Convention("class means", "uniform", "trace_ratio"),
    "wu": Convention("samples", "samples", "trace_fraction"),
}


@dataclass(frozen=True, repr=False)
class CollapseReport:
    """How far features and classifier have collapsed; each field has one meaning.

    M is the (K, d) matrix of class means minus the global mean, W the classifier's weight, P the
    matrix (I - J/K)/sqrt(K-1), |.| the Frobenius norm. Fields that need a classifier are nan (shown
    as a dash) where none was given. Full collapse to a simplex ETF makes all of them 0, except
    `nc2_condition` (1 for *orthogonal* uncentred means, inf for an ETF around the origin) and
    `nc3_cosine` (1).

    | field | formula | source |
    |---|---|---|
    | nc1 | the convention's NC1, one of the four below | see `measure` |
    | pinv_trace | tr(S_W S_B^+) | Papyan 2020 (notebook) |
    | pinv_trace_per_class | tr(S_W S_B^+) / K | Zhu 2021 |
    | trace_ratio | tr S_W / tr S_B | Tirer 2023, Jacot 2024 |
    | trace_fraction | tr S_W / (tr S_W + tr S_B), in [0, 1] | Wu and Mondelli 2025 |
    | cdnv | mean over c != c' of (var_c + var_c') / (2 |mu_c - mu_c'|^2) | Galanti 2022 |
    | nc2_equinorm | std (ddof 1) / mean of the norms of M's rows | Papyan 2020 |
    | nc2_equiangular | mean over c != c' of |cos(M_c, M_c') + 1/(K-1)| | Papyan 2020 |
    | nc2_structure | |M M^T / |M M^T| - P| | Zhu 2021, its form applied to means |
    | nc2_condition | condition number of the *uncentred* class means | Jacot 2024 |
    | nc2_..._classifier | the same three of W's rows, not centred | Papyan 2020, Zhu 2021 |
    | nc3 | |W/|W| - M/|M||^2, in [0, 4] | Papyan 2020 (squared) |
    | nc3_structure | |W M^T / |W M^T| - P| | Zhu 2021; 0 does not imply W parallel to M |
    | nc3_cosine | mean over samples of cos(h_i, W_{y_i}) | Jacot 2024 |
    | nc4 | share of samples where argmax(W h + b) is not the nearest class mean | Papyan 2020 |
    | nc4_without_bias | the same without b | as in rhubarbwu/neural-collapse |
    | rank | number of directions in which the class means differ, at most min(K-1, d) | |
    | simplex_fits | d >= K-1: a simplex ETF of K vertices has room | |
    | num_classes, num_samples | how many are in the report, without those left out | |
    | smallest_class | samples in the smallest class; one sample has no variation within | |
    | classes | the numbers of the classes, or their names | |

    Where every class has one sample, NC1 and CDNV are nan: there is nothing within to measure.
    Where there is nothing to divide by, the field is inf, never nan: class means that all coincide
    (`rank` 0) make NC1, CDNV, NC2 of the means and NC3 inf (and trace_fraction 1); a zero weight
    makes NC2 of the classifier and NC3 inf; two coinciding class means make CDNV inf. A single zero
    vector among others has cosine 0 with all. Ties in NC4 go to the lower class, on both sides.
    """

    nc1: float
    nc2_equinorm: float
    nc2_equiangular: float
    nc3: float
    nc4: float
    pinv_trace: float
    pinv_trace_per_class: float
    trace_ratio: float
    trace_fraction: float
    cdnv: float
    nc2_structure: float
    nc2_condition: float
    nc2_equinorm_classifier: float
    nc2_equiangular_classifier: float
    nc2_structure_classifier: float
    nc3_structure: float
    nc3_cosine: float
    nc4_without_bias: float
    rank: int
    simplex_fits: bool
    convention: str
    num_classes: int
    num_samples: int
    smallest_class: int
    classes: tuple[int, ...] | tuple[str, ...]

    def as_dict(self) -> dict[str, float]:
        """All numbers as floats, by field name (`convention` and `classes` are left out)."""
        return {name: float(x) for name, x in vars(self).items() if not isinstance(x, str | tuple)}

    def _rows(self) -> list[tuple[str, str]]:
        fits = "fits" if self.simplex_fits else "does not fit"
        title = f"{self.num_samples} samples, {self.num_classes} classes, simplex {fits}"
        values = vars(self)
        rows = [(f"convention {self.convention}", title)]
        for name in values:
            if isinstance(values[name], float):
                text = "–" if math.isnan(values[name]) else f"{values[name]:.4g}"
                rows.append((name, text))
            elif name == "smallest_class" and values[name] == 1:
                rows.append((name, "1: nothing varies within it; min_samples=2 leaves it out"))
            elif name in ("rank", "smallest_class"):
                rows.append((name, str(values[name])))
        return rows

    def __str__(self) -> str:
        return "\n".join(f"{name:<27} {value}" for name, value in self._rows())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        lines = "".join(f"<tr><th scope='row'>{n}</th><td>{v}</td></tr>" for n, v in body)
        return f"<table><caption>{head[0]}: {head[1]}</caption><tbody>{lines}</tbody></table>"
