"""Exercises of chapter 1, simplex geometry."""

import math

import torch

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number
from ncourse.simplex import cosine_matrix, nearest_etf, off_diagonal, simplex_etf


# 1.1 ----------------------------------------------------------------------------------------------
def simplex_cosine(num_classes):
    """The cosine between two corners, from 0 = ||x_1 + ... + x_K||^2 = K + K(K-1) c."""
    return -1 / (num_classes - 1)


def _cosine_triangle(answer: Answer) -> str | None:
    value = answer(3)
    if message := wrong_number(value):
        return message
    if math.isclose(value, 0.5, abs_tol=1e-6):
        return "For K = 3 you get +0.5: the corners of a triangle point away from each other. Sign?"
    if math.isclose(value, -1 / 3, abs_tol=1e-6):
        return (
            "For K = 3 you get −1/3. In the expansion of ||x₁ + … + x_K||² there are K(K−1) cross "
            "terms, not K²: a point has no cosine with itself."
        )
    if abs(value) > 1:
        return f"For K = 3 you get {value:.3g}: that is no cosine. An angle in degrees, perhaps?"
    if not math.isclose(value, -0.5, abs_tol=1e-6):
        return f"For K = 3 you get {value:.3g}. Three corners of a triangle are 120° apart."
    return None


def _cosine_formula(answer: Answer) -> str | None:
    for count in (2, 4, 10, 1000):
        value = answer(count)
        if message := wrong_number(value):
            return message
        if count > 3 and math.isclose(value, math.cos(2 * math.pi / count), abs_tol=1e-6):
            return (
                "That is the angle between neighbours on a circle. A polygon's corners are not "
                "equiangular: leave the plane."
            )
        if not math.isclose(value, -1 / (count - 1), rel_tol=1e-5):
            return f"Right for K = 3, but for K = {count} you get {value:.4g}."
    return None


# 1.2 ----------------------------------------------------------------------------------------------
def build_simplex(num_classes):
    """Centre the unit vectors e_1..e_K, then give each row length one."""
    vertices = torch.eye(num_classes) - 1 / num_classes
    return vertices / vertices.norm(dim=1, keepdim=True)


def _no_centring(num_classes):
    return torch.eye(num_classes)


def _no_normalising(num_classes):
    return torch.eye(num_classes) - 1 / num_classes


def _built_square(answer: Answer) -> str | None:
    vertices = answer(4)
    if message := wrong_kind(vertices, (4, 4)):
        return message
    if vertices.sum(0).abs().max() > 1e-5:
        return (
            "Your vertices do not sum to zero, so their centre is not the origin. Subtract the "
            "mean of the rows first."
        )
    norms = vertices.norm(dim=1)
    if (norms - 1).abs().max() > 1e-5:
        return (
            f"Centred, but your rows have length {norms[0]:.3f}: the directions are right, the "
            "lengths are not. Divide each row by its norm."
        )
    return None


def _built_cosines(answer: Answer) -> str | None:
    for count in (2, 4, 7):
        vertices = answer(count)
        if message := wrong_kind(vertices, (count, count)):
            return f"For K = {count}: {message}"
        worst = (off_diagonal(cosine_matrix(vertices.double())) + 1 / (count - 1)).abs().max()
        if worst > 1e-5:
            return f"For K = {count} a cosine is {worst:.3g} away from −1/(K−1)."
    return None


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


def _clouds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    sizes = ((3, 5), (4, 6), (6, 20))
    return [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]


def _nearest_is_simplex(answer: Answer) -> str | None:
    for vectors in _clouds():
        given = vectors.clone()
        result = answer(vectors)
        if message := wrong_kind(result, tuple(given.shape)):
            return message
        result = result.double()
        if not torch.equal(vectors, given):
            return "Your function changes the vectors it was given. Work on a copy."
        if torch.allclose(result, given - given.mean(0)):
            return (
                "You got the centred vectors back: U S Vh multiplies out to what you started from. "
                "Leave the singular values S out."
            )
        cosines = off_diagonal(cosine_matrix(result))
        if (cosines + 1 / (len(given) - 1)).abs().max() > 1e-6:
            if cosines.abs().max() < 1e-6:
                return (
                    "Your rows are at right angles: that is the polar factor, the nearest "
                    "*orthogonal* frame. Subtract the mean of its rows and scale it."
                )
            return (
                "Your cosines are not all −1/(K−1). Centring and normalising keeps each vector's "
                "own direction; the directions must also be pulled apart, all at once."
            )
        if (result.norm(dim=1) - 1).abs().max() > 1e-6:
            return "The angles are right, the rows are not of length one. Which factor is missing?"
    return None


def _nearest_is_nearest(answer: Answer) -> str | None:
    for vectors in _clouds():
        best = (vectors - nearest_etf(vectors)).norm()
        result = answer(vectors.clone()).double()
        distance = (vectors - result).norm()
        if distance > best + 1e-5:
            if torch.allclose(result, _not_centred_first(vectors), atol=1e-5):
                return "That is a simplex, but not the nearest: you did not centre before the SVD."
            if torch.allclose(result, _normalised_first(vectors), atol=1e-5):
                return (
                    "That is a simplex, but not the nearest: you normalised the rows before the "
                    "SVD. The vectors are to be approximated as they are."
                )
            return (
                f"That is a simplex, but not the nearest: yours is {distance:.3f} away, another "
                f"{best:.3f}. Which rotation does the data ask for?"
            )
    return None


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


def _grown(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(4)
    for count, dim in ((1, 2), (2, 3), (5, 12)):
        basis = torch.linalg.qr(torch.randn(dim, count, generator=generator)).Q.T.double()
        basis = torch.linalg.qr(basis.T).Q.T
        direction = 3 * torch.randn(dim, generator=generator).double()
        grown = answer(basis.clone(), direction.clone())
        if message := wrong_kind(grown, (count + 1, dim)):
            return message
        grown = grown.double()
        if not torch.allclose(grown[:count], basis, atol=1e-6):
            return (
                "The old rows have changed. Growing must leave them exactly where they are: that "
                "is what keeps the old classes in place."
            )
        if (grown[:count] @ grown[count]).abs().max() > 1e-6:
            return (
                "The new row is not orthogonal to the old ones. Subtract its component along each "
                "old row."
            )
        if (grown[count].norm() - 1).abs() > 1e-6:
            return "The new row is orthogonal to the old ones, but its length is not one."
    return None


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


def _crowded(answer: Answer) -> str | None:
    for count, dim in ((2, 4), (5, 3), (6, 3), (9, 7), (16, 8)):
        vectors = answer(count, dim)
        if message := wrong_kind(vectors, (count, dim)):
            return message
        if (vectors.norm(dim=1) - 1).abs().max() > 1e-6:
            return "The vectors must have length one."
        largest = off_diagonal(cosine_matrix(vectors.double())).max().item()
        if largest > 1 - 1e-6:
            return (
                f"With {count} vectors in {dim} dimensions two of yours are the same. Every axis "
                "has two ends."
            )
        if largest > 1e-6:
            return (
                f"With {count} vectors in {dim} dimensions your largest cosine is {largest:.3f}; "
                "0 can be reached as long as there are at most 2d vectors."
            )
    return None


# 1.6 ----------------------------------------------------------------------------------------------
def least_energy(num_points, push):
    """Pairs times the push at the mean squared distance of the simplex, by Jensen's inequality."""
    pairs = num_points * (num_points - 1) / 2
    return pairs * push(2 * num_points / (num_points - 1))


def _each_pair_twice(num_points, push):
    return 2 * least_energy(num_points, push)


def _orthogonal_distance(num_points, push):
    return num_points * (num_points - 1) / 2 * push(2.0)


def _distance_not_squared(num_points, push):
    pairs = num_points * (num_points - 1) / 2
    return pairs * push(math.sqrt(2 * num_points / (num_points - 1)))


def _upside_down(num_points, push):
    return num_points * (num_points - 1) / 2 * push(2 * (num_points - 1) / num_points)


def _bounds_the_energy(answer: Answer) -> str | None:
    near = {
        _each_pair_twice: "You count every pair twice. The sum runs over i < j: K(K − 1)/2 pairs.",
        _orthogonal_distance: "2 is the squared distance of *orthogonal* unit vectors. The mean "
        "can be larger: the squared distances add up to at most K².",
        _distance_not_squared: "`push` is a function of the *squared* distance.",
        _upside_down: "Your mean squared distance is 2(K − 1)/K, upside down: the sum is at "
        "most K², over K(K − 1)/2 pairs.",
    }
    for num_points in (3, 5, 10):
        value = answer(num_points, lambda x: 1 / x**2)
        if message := wrong_number(value):
            return message
        truth = least_energy(num_points, lambda x: 1 / x**2)
        if math.isclose(float(value), truth, rel_tol=1e-9):
            continue
        for wrong, message in near.items():
            if math.isclose(float(value), wrong(num_points, lambda x: 1 / x**2), rel_tol=1e-9):
                return message
        return f"For K = {num_points} and push 1/x² it is {truth:.5g}; yours is {float(value):.5g}."
    return None


EXERCISES = (
    Exercise(
        "1.1",
        1,
        simplex_cosine,
        (_cosine_triangle, _cosine_formula),
        (
            "The corners balance: their sum is zero. What is the squared norm of that sum?",
            "Expand ||x₁ + … + x_K||²: there are K terms ⟨x_i, x_i⟩ = 1 and K(K−1) terms c.",
            "0 = K + K(K−1) c. Solve for c.",
        ),
        "The K ones on the diagonal must be paid for by K(K−1) equal cosines, so each is "
        "−1/(K−1). The more classes, the closer to a right angle.",
        (
            Mistake(lambda num_classes: 1 / (num_classes - 1), "Sign?"),
            Mistake(lambda num_classes: -1 / num_classes, "no cosine with itself"),
            Mistake(lambda num_classes: 360 / num_classes, "no cosine. An angle in degrees"),
            Mistake(lambda num_classes: math.cos(2 * math.pi / num_classes), "leave the plane"),
        ),
    ),
    Exercise(
        "1.2",
        1,
        build_simplex,
        (_built_square, _built_cosines),
        (
            "The rows of torch.eye(K) are already equidistant. What is their centre?",
            "Subtract the mean of the rows: that is 1/K from every entry.",
            "Then divide each row by its norm, sqrt(1 − 1/K).",
        ),
        "e_1, …, e_K are equidistant from each other and from their mean. Seen from that mean they "
        "are the corners of a regular simplex; normalising only sets its size.",
        (
            Mistake(_no_centring, "do not sum to zero"),
            Mistake(_no_normalising, "Divide each row by its norm"),
        ),
    ),
    Exercise(
        "1.3",
        3,
        nearest_simplex,
        (_nearest_is_simplex, _nearest_is_nearest),
        (
            "Centre the vectors, then take their SVD: the nearest matrix with orthonormal rows is "
            "U Vh, without the singular values.",
            "The simplex is that orthogonal frame seen from its own mean: subtract the mean of its "
            "rows.",
            "Centred unit vectors have length sqrt(1 − 1/K), so multiply by sqrt(K/(K−1)).",
        ),
        "Minimising ||M − E|| over all rotations maximises ⟨M, E⟩, and the SVD's U Vh does: it "
        "lines up every singular direction and gives all of them the same weight.",
        (
            Mistake(_centre_and_normalise, "Your cosines are not all"),
            Mistake(_no_centre_after, "right angles"),
            Mistake(_kept_singular_values, "Leave the singular values"),
            Mistake(_not_centred_first, "did not centre before"),
            Mistake(_normalised_first, "normalised the rows before"),
            Mistake(_some_simplex, "Which rotation"),
        ),
    ),
    Exercise(
        "1.4",
        4,
        grow_basis,
        (_grown,),
        (
            "One step of Gram–Schmidt: remove from `direction` what the old rows already hold.",
            "The component of v along the rows of B is (v Bᵀ) B.",
            "Normalise what is left, and append it with torch.cat([basis, rest[None]]).",
        ),
        "Old rows stay untouched, so old vertices move only because the mean they are measured "
        "from moves: all by the same angle.",
        (
            Mistake(_append_only, "not orthogonal to the old ones"),
            Mistake(_no_unit_length, "its length is not one"),
            Mistake(_all_again, "The old rows have changed"),
        ),
    ),
    Exercise(
        "1.5",
        5,
        spread_out,
        (_crowded,),
        (
            "In the plane, four vectors can be at right angles or more. Which?",
            "Use both ends of each axis: e_1, −e_1, e_2, −e_2, …",
            "Stack torch.eye(d) and −torch.eye(d) and take the first num_vectors rows.",
        ),
        "Two ends of one axis have cosine −1, different axes 0. Rankin's bound says that beyond "
        "d + 1 vectors nothing does better than 0.",
        (
            Mistake(_repeat_axes, "two of yours are the same"),
            Mistake(_random_points, "0 can be reached"),
        ),
    ),
    Exercise(
        "1.6",
        2,
        least_energy,
        (_bounds_the_energy,),
        (
            "Write out Σ_{i<j} ‖x_i − x_j‖² for unit vectors, with the length of their sum in it.",
            "It is K² − ‖Σ x_i‖², so at most K². The mean over K(K − 1)/2 pairs is at most "
            "2K/(K − 1).",
            "A convex function of the mean is at most the mean of the function (Jensen), and push "
            "decreases: pairs times push(2K/(K − 1)).",
        ),
        "The simplex attains it, since all its squared distances are 2K/(K − 1). With a strictly "
        "convex push nothing else does: then all distances must be equal and the sum zero.",
        (
            Mistake(_each_pair_twice, "every pair twice"),
            Mistake(_orthogonal_distance, "*orthogonal* unit vectors"),
            Mistake(_distance_not_squared, "*squared* distance"),
            Mistake(_upside_down, "upside down"),
        ),
    ),
)
