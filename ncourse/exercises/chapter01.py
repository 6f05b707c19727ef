"""Exercises of chapter 1, simplex geometry."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, normal, one_of, orthonormal, uniform
from ncourse.simplex import cosine_matrix, off_diagonal, simplex_etf

IMPORTS = """
import math
import numpy as np
import torch
from ncourse.data import digits
from ncourse.papers import rankin1955
from ncourse.simplex import SimplexFrame, cosine_matrix, growth_cosine, nearest_etf, off_diagonal
from ncourse.simplex import repel, simplex_etf
"""


# 1.1 ----------------------------------------------------------------------------------------------
def simplex_cosine(num_classes):
    """The cosine between two corners, from 0 = ||x_1 + ... + x_K||^2 = K + K(K-1) c."""
    return -1 / (num_classes - 1)


def _positive_cosine(num_classes):
    return 1 / (num_classes - 1)


def _all_pairs(num_classes):
    return -1 / num_classes


def _degrees(num_classes):
    return 360 / num_classes


def _polygon(num_classes):
    return math.cos(2 * math.pi / num_classes)


def _numbers_of_classes(generator):
    for count in (2, 3, 4, integer(generator, 5, 20), integer(generator, 21, 99), 1000):
        yield (count,)


# 1.2 ----------------------------------------------------------------------------------------------
def build_simplex(num_classes):
    """Centre the unit vectors e_1..e_K, then give each row length one."""
    vertices = torch.eye(num_classes) - 1 / num_classes
    return vertices / vertices.norm(dim=1, keepdim=True)


def _no_centring(num_classes):
    return torch.eye(num_classes)


def _no_normalising(num_classes):
    return torch.eye(num_classes) - 1 / num_classes


def _is_simplex(vertices, wanted, arguments):
    """Any simplex will do, however it is turned; these cosines have the sum zero."""
    count = len(wanted)
    norms = vertices.norm(dim=1)
    if (norms - 1).abs().max() > 1e-5:
        return f"For K = {count} a row of yours has length {norms[0]:.3f}; expected 1."
    worst = (off_diagonal(cosine_matrix(vertices)) + 1 / (count - 1)).abs().max().item()
    if not worst <= 1e-5:
        return f"For K = {count} a cosine is {worst:.3g} away from −1/(K−1)."
    return True


def _few_classes(generator):
    for count in (4, 2, 3, integer(generator, 5, 8), integer(generator, 9, 14)):
        yield (count,)


# 1.3 ----------------------------------------------------------------------------------------------
def nearest_simplex(vectors):
    """Polar factor of the centred vectors: U Vh without the singular values, scaled to unit rows.

    With K vectors the last singular value of the centred matrix is zero; its left vector is the
    all-ones direction, which centring the product removes again.
    """
    count = len(vectors)
    u, _, vh = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    rotation = u @ vh
    return math.sqrt(count / (count - 1)) * (rotation - rotation.mean(0))


def _centre_and_normalise(vectors):
    centred = vectors - vectors.mean(0)
    return centred / centred.norm(dim=1, keepdim=True)


def _no_centre_after(vectors):
    u, _, vh = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    return u @ vh


def _kept_singular_values(vectors):
    u, s, vh = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    return u @ torch.diag(s) @ vh


def _not_centred_first(vectors):
    count = len(vectors)
    u, _, vh = torch.linalg.svd(vectors, full_matrices=False)
    return math.sqrt(count / (count - 1)) * (u @ vh - (u @ vh).mean(0))


def _normalised_first(vectors):
    return nearest_simplex(_centre_and_normalise(vectors))


def _some_simplex(vectors):
    generator = torch.Generator().manual_seed(0)
    return simplex_etf(*vectors.shape, generator=generator, dtype=vectors.dtype)


def _is_the_nearest(result, wanted, arguments):
    (vectors,) = arguments
    count = len(vectors)
    if (result - wanted).abs().max() <= 1e-5:
        return True
    if result.norm(dim=1).min() < 1e-9:
        return "A row of your result is zero; a vertex has length one."
    cosines = off_diagonal(cosine_matrix(result))
    if not (cosines + 1 / (count - 1)).abs().max() <= 1e-5:
        if cosines.abs().max() < 1e-6:
            return (
                "Your rows are at right angles: that is the nearest *orthogonal* frame. A simplex "
                "has cosines −1/(K−1)."
            )
        return (
            "Your cosines are not all −1/(K−1). Centring and normalising keeps each vector's own "
            "direction; the directions must also be pulled apart, all at once."
        )
    if not (result.norm(dim=1) - 1).abs().max() <= 1e-5:
        return "The angles are right, the rows are not of length one. Which factor is missing?"
    mine, best = (vectors - result).norm(), (vectors - wanted).norm()
    return (
        f"That is a simplex, but not the nearest: yours is {mine:.4g} away, another {best:.4g}. "
        "Which rotation does the data ask for?"
    )


def _vectors(generator):
    for count, dim in ((3, 5), (4, 6), (6, 20), (5, 5), (2, 3)):
        yield (uniform(generator, 0.5, 3) * normal(generator, count, dim) + normal(generator, dim),)


# 1.4 ----------------------------------------------------------------------------------------------
def grow_basis(basis, direction):
    """Take away from the new direction what the old rows hold, normalise it, and append it."""
    rest = direction - (direction @ basis.T) @ basis
    return torch.cat([basis, (rest / rest.norm())[None]])


def _append_only(basis, direction):
    return torch.cat([basis, (direction / direction.norm())[None]])


def _no_unit_length(basis, direction):
    return torch.cat([basis, (direction - (direction @ basis.T) @ basis)[None]])


def _all_again(basis, direction):
    u, _, vh = torch.linalg.svd(torch.cat([basis, direction[None]]), full_matrices=False)
    return u @ vh


def _is_grown(grown, wanted, arguments):
    """The new row may have either sign."""
    basis, _ = arguments
    old, new = grown[: len(basis)], grown[len(basis)]
    if not (old - basis).abs().max() <= 1e-5:
        return (
            "The old rows have changed. Growing must leave them exactly where they are: that is "
            "what keeps the old classes in place."
        )
    if not (old @ new).abs().max() <= 1e-5:
        return (
            "The new row is not orthogonal to the old ones. Subtract its component along each old "
            "row."
        )
    if not abs(new.norm() - 1) <= 1e-5:
        return "The new row is orthogonal to the old ones, but its length is not one."
    if not 1 - abs(new @ wanted[-1]) <= 1e-5:
        return (
            "The new row is orthogonal to the old ones, but `direction` does not lie in the span "
            "of all rows: the new one has to come from it."
        )
    return True


def _bases(generator):
    for count, dim in ((1, 2), (2, 3), (5, 12), (3, 7)):
        yield orthonormal(generator, count, dim), 3 * normal(generator, dim)


# 1.5 ----------------------------------------------------------------------------------------------
def spread_out(num_vectors, dim):
    """+e_1, -e_1, +e_2, -e_2, ...: the first `num_vectors` corners of the cross-polytope."""
    axes = torch.eye(dim)
    return torch.stack([axes, -axes], dim=1).reshape(2 * dim, dim)[:num_vectors]


def _repeat_axes(num_vectors, dim):
    return torch.eye(dim)[torch.arange(num_vectors) % dim]


def _random_points(num_vectors, dim):
    points = torch.randn(num_vectors, dim, generator=torch.Generator().manual_seed(0))
    return points / points.norm(dim=1, keepdim=True)


def _has_room(vectors, wanted, arguments):
    count, dim = arguments
    if not (vectors.norm(dim=1) - 1).abs().max() <= 1e-5:
        return "The vectors must have length one."
    cosines = off_diagonal(cosine_matrix(vectors))
    largest = cosines.max().item() if cosines.numel() else -1.0
    if largest > 1 - 1e-6:
        return (
            f"With {count} vectors in {dim} dimensions two of yours are the same. Every axis has "
            "two ends."
        )
    if not largest <= 1e-5:
        return (
            f"With {count} vectors in {dim} dimensions your largest cosine is {largest:.3f}; 0 can "
            "be reached as long as there are at most 2d vectors."
        )
    return True


def _crowds(generator):
    dim = integer(generator, 4, 9)
    yield from ((2, 4), (5, 3), (6, 3), (2, 1))
    yield from ((2 * dim, dim), (2 * dim - 1, dim), (dim + 1, dim), (dim, dim))


# 1.6 ----------------------------------------------------------------------------------------------
def least_energy(num_points, energy):
    """Pairs times f at the mean squared distance of the simplex, by Jensen's inequality."""
    pairs = num_points * (num_points - 1) / 2
    return pairs * energy(2 * num_points / (num_points - 1))


def _each_pair_twice(num_points, energy):
    return 2 * least_energy(num_points, energy)


def _orthogonal_distance(num_points, energy):
    return num_points * (num_points - 1) / 2 * energy(2.0)


def _distance_not_squared(num_points, energy):
    pairs = num_points * (num_points - 1) / 2
    return pairs * energy(math.sqrt(2 * num_points / (num_points - 1)))


def _upside_down(num_points, energy):
    return num_points * (num_points - 1) / 2 * energy(2 * (num_points - 1) / num_points)


def _energies(generator):
    for count in (3, 5, 2, integer(generator, 6, 12)):
        power, rate = uniform(generator, 0.5, 3), uniform(generator, 0.3, 2)

        def inverse_power(x, power=power):
            return x**-power

        def exponential(x, rate=rate):
            return math.exp(-rate * x)

        yield count, one_of(generator, (inverse_power, exponential))
        yield count, inverse_power


EXERCISES = (
    Exercise(
        "1.1",
        1,
        simplex_cosine,
        _numbers_of_classes,
        (
            Mistake(
                _positive_cosine,
                "Your cosine is positive: the corners point away from each other. Sign?",
            ),
            Mistake(
                _all_pairs,
                "For K = 3 you get −1/3. In the expansion of ||x₁ + … + x_K||² there are K(K−1) "
                "cross terms, not K²: a point has no cosine with itself.",
            ),
            Mistake(
                _degrees,
                "That is no cosine but an angle in degrees, and that of a polygon.",
            ),
            Mistake(
                _polygon,
                "That is the angle between neighbours on a circle. A polygon's corners are not "
                "equiangular: leave the plane.",
            ),
        ),
        (
            "The corners balance: their sum is zero. What is the squared norm of that sum?",
            "Expand ||x₁ + … + x_K||²: there are K terms ⟨x_i, x_i⟩ = 1 and K(K−1) terms c.",
            "0 = K + K(K−1) c. Solve for c.",
        ),
        "The K ones on the diagonal must be paid for by K(K−1) equal cosines, so each is "
        "−1/(K−1). The more classes, the closer to a right angle.",
    ),
    Exercise(
        "1.2",
        1,
        build_simplex,
        _few_classes,
        (
            Mistake(
                _no_centring,
                "Your vertices do not sum to zero, so their centre is not the origin. Subtract the "
                "mean of the rows first.",
            ),
            Mistake(
                _no_normalising,
                "Centred, but too short: the directions are right, the lengths are not. Divide "
                "each row by its norm.",
            ),
        ),
        (
            "The rows of torch.eye(K) are already equidistant. What is their centre?",
            "Subtract the mean of the rows: that is 1/K from every entry.",
            "Then divide each row by its norm, sqrt(1 − 1/K).",
        ),
        "e_1, …, e_K are equidistant from each other and from their mean. Seen from that mean they "
        "are the corners of a regular simplex; normalising only sets its size.",
        agreement=_is_simplex,
    ),
    Exercise(
        "1.3",
        3,
        nearest_simplex,
        _vectors,
        (
            Mistake(
                _centre_and_normalise,
                "Your cosines are not all −1/(K−1). Centring and normalising keeps each vector's "
                "own direction; the directions must also be pulled apart, all at once.",
            ),
            Mistake(
                _no_centre_after,
                "Your rows are at right angles: that is the polar factor, the nearest *orthogonal* "
                "frame. Subtract the mean of its rows and scale it.",
            ),
            Mistake(
                _kept_singular_values,
                "You got the centred vectors back: U S Vh multiplies out to what you started from. "
                "Leave the singular values S out.",
            ),
            Mistake(
                _not_centred_first,
                "That is a simplex, but not the nearest: you did not centre before the SVD.",
            ),
            Mistake(
                _normalised_first,
                "That is a simplex, but not the nearest: you normalised the rows before the SVD. "
                "The vectors are to be approximated as they are.",
            ),
            Mistake(
                _some_simplex,
                "That is a simplex, but it has nothing to do with the vectors. Which rotation do "
                "the data ask for?",
            ),
        ),
        (
            "Centre the vectors, then take their SVD: the nearest matrix with orthonormal rows is "
            "U Vh, without the singular values.",
            "The simplex is that orthogonal frame seen from its own mean: subtract the mean of its "
            "rows.",
            "Centred unit vectors have length sqrt(1 − 1/K), so multiply by sqrt(K/(K−1)).",
        ),
        "Minimising ||M − E|| over all rotations maximises ⟨M, E⟩, and the SVD's U Vh does: it "
        "lines up every singular direction and gives all of them the same weight.",
        agreement=_is_the_nearest,
    ),
    Exercise(
        "1.4",
        4,
        grow_basis,
        _bases,
        (
            Mistake(
                _append_only,
                "You append the direction as it comes, with length one. It is not orthogonal to "
                "the old rows: subtract its component along each of them.",
            ),
            Mistake(
                _no_unit_length,
                "The new row is orthogonal to the old ones, but its length is not one.",
            ),
            Mistake(
                _all_again,
                "The old rows have changed: you made the whole basis again. Growing must leave "
                "them exactly where they are.",
            ),
        ),
        (
            "One step of Gram–Schmidt: remove from `direction` what the old rows already hold.",
            "The component of v along the rows of B is (v Bᵀ) B.",
            "Normalise what is left, and append it with torch.cat([basis, rest[None]]).",
        ),
        "Old rows stay untouched, so old vertices move only because the mean they are measured "
        "from moves: all by the same angle.",
        agreement=_is_grown,
    ),
    Exercise(
        "1.5",
        5,
        spread_out,
        _crowds,
        (
            Mistake(
                _repeat_axes,
                "You start again at the first axis, so some vectors are the same. Every axis has "
                "two ends.",
            ),
            Mistake(
                _random_points,
                "Random directions have positive cosines among them; 0 can be reached as long as "
                "there are at most 2d vectors.",
            ),
        ),
        (
            "In the plane, four vectors can be at right angles or more. Which?",
            "Use both ends of each axis: e_1, −e_1, e_2, −e_2, …",
            "Stack torch.eye(d) and −torch.eye(d) and take the first num_vectors rows.",
        ),
        "Two ends of one axis have cosine −1, different axes 0. Rankin's bound says that beyond "
        "d + 1 vectors nothing does better than 0.",
        agreement=_has_room,
    ),
    Exercise(
        "1.6",
        2,
        least_energy,
        _energies,
        (
            Mistake(
                _each_pair_twice,
                "You count every pair twice. The sum runs over i < j: K(K − 1)/2 pairs.",
            ),
            Mistake(
                _orthogonal_distance,
                "2 is the squared distance of *orthogonal* unit vectors. The mean can be larger: "
                "the squared distances add up to at most K².",
            ),
            Mistake(
                _distance_not_squared,
                "`energy` is a function of the *squared* distance.",
            ),
            Mistake(
                _upside_down,
                "Your mean squared distance is 2(K − 1)/K, upside down: the sum is at most K², "
                "over K(K − 1)/2 pairs.",
            ),
        ),
        (
            "Write out Σ_{i<j} ‖x_i − x_j‖² for unit vectors, with the length of their sum in it.",
            "It is K² − ‖Σ x_i‖², so at most K². The mean over K(K − 1)/2 pairs is at most "
            "2K/(K − 1).",
            "A convex function of the mean is at most the mean of the function (Jensen), and f "
            "decreases: pairs times f(2K/(K − 1)).",
        ),
        "The simplex attains it, since all its squared distances are 2K/(K − 1). With a strictly "
        "convex energy nothing else does: then all distances must be equal and the sum zero.",
    ),
)
