"""Streams, buffer, strategies and the loop against hand-worked values and small runs."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from ncourse.continual import (
    AsymmetricReplay,
    BalancedDarkExperience,
    Batch,
    DarkExperience,
    Diverged,
    ExperienceReplay,
    FixedSimplex,
    ICaRL,
    Joint,
    Learner,
    Naive,
    ProgressiveCollapse,
    ReplayBuffer,
    Stream,
    anytime_accuracy,
    backward_transfer,
    dot_regression,
    exemplar_directions,
    final_accuracy,
    first_minus_last,
    forgetting,
    herding,
    learn,
    mean_directions,
    task_accuracy,
)
from ncourse.data import gaussian_mixture
from ncourse.models import Classifier, seeded
from ncourse.simplex import SimplexFrame, growth_cosine

DATA = gaussian_mixture(6, 12, train_per_class=20, test_per_class=10, separation=1.5, seed=3)


def network(num_classes=6, dim=16, seed=0):
    with seeded(seed):
        body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, dim))
        return Classifier(body, nn.Linear(dim, num_classes))


def run(strategy, *, num_tasks=3, epochs=6, buffer_size=12, **arguments):
    return learn(
        Stream.split(DATA, num_tasks),
        strategy,
        model=network(),
        epochs=epochs,
        buffer_size=buffer_size,
        progress=False,
        **arguments,
    )


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 6])
def test_a_stream_deals_out_every_sample_once(num_tasks):
    stream = Stream.split(DATA, num_tasks, seed=5)
    assert [k for task in stream.tasks for k in task.classes] == list(range(6))
    inputs = torch.cat([task.inputs for task in stream.tasks])
    tests = torch.cat([task.test_inputs for task in stream.tasks])
    assert inputs.sum(0).allclose(DATA.inputs.sum(0), atol=1e-4)
    assert len(inputs) == 120
    assert len(tests) == 60
    for task in stream.tasks:
        assert set(task.labels.tolist()) == set(task.classes) == set(task.test_labels.tolist())


def test_classes_keep_their_names_and_samples_when_the_order_changes():
    stream = Stream.split(DATA, 3, seed=5)
    assert stream.class_names != DATA.class_names
    for task in stream.tasks:
        for k in task.classes:
            original = DATA.class_names.index(stream.class_names[k])
            assert torch.equal(task.inputs[task.labels == k], DATA.inputs[DATA.labels == original])


def test_uneven_splits_give_the_first_tasks_one_class_more():
    assert [len(task.classes) for task in Stream.split(DATA, 4).tasks] == [2, 2, 1, 1]


@pytest.mark.parametrize("num_tasks", [0, 7])
def test_a_split_that_leaves_a_task_without_class_is_refused(num_tasks):
    with pytest.raises(ValueError, match=rf"num_tasks is {num_tasks}.*6 classes.*choose 1 to 6"):
        Stream.split(DATA, num_tasks)


class Experience(list):
    """As much of one of Avalanche as a stream reads; the real ones are in `test_callbacks.py`."""

    def __init__(self, *labels):
        super().__init__((torch.full((3,), float(label)), label, 0) for label in labels)
        self.dataset = self

    def eval(self):
        return self


def benchmark(train, test):
    return SimpleNamespace(
        train_stream=[Experience(*labels) for labels in train],
        test_stream=[Experience(*labels) for labels in test],
    )


def test_a_benchmark_of_avalanche_becomes_a_stream_in_order_of_arrival():
    stream = Stream.from_avalanche(benchmark([[7, 2, 2], [5]], [[2, 7], [5, 5]]), name="made up")
    assert (stream.name, stream.class_names) == ("made up in 2 tasks", ("2", "7", "5"))
    first, second = stream.tasks
    assert (first.labels.tolist(), first.test_labels.tolist()) == ([1, 0, 0], [0, 1])
    assert (second.labels.tolist(), second.test_labels.tolist()) == ([2], [2, 2])
    assert first.inputs[:, 0].tolist() == [7, 2, 2]
    assert (first.classes, second.classes) == (range(2), range(2, 3))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([[0, 1], [1, 2]], [[0], [2]], "experience 1 trains class 1 again"),
        ([[0, 1], [2]], [[0], [1]], "experience 1 tests class 1, which it does not train"),
        ([[0, 1], [2]], [[0, 1, 2]], "2 training experiences and 1 for testing"),
    ],
)
def test_a_benchmark_that_is_not_class_incremental_is_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        Stream.from_avalanche(benchmark(train, test))


# --- buffer ---------------------------------------------------------------------------------------


def test_the_buffer_is_class_balanced_and_old_classes_give_up_room():
    buffer = ReplayBuffer(13)
    generator = torch.Generator().manual_seed(0)
    first = torch.arange(40.0)[:, None]
    labels = torch.arange(2).repeat_interleave(20)
    buffer.store(first, labels, torch.zeros(40, 4), num_seen=2, generator=generator)
    assert torch.bincount(buffer.labels).tolist() == [6, 6]  # 13 // 2
    kept = set(buffer.inputs.flatten().tolist())
    assert kept != {*range(6), *range(20, 26)}, "the choice is random, not the first ones"
    buffer.store(first + 100, labels + 2, torch.ones(40, 4), num_seen=4, generator=generator)
    assert torch.bincount(buffer.labels).tolist() == [3, 3, 3, 3]  # 13 // 4
    assert {x for x in buffer.inputs.flatten().tolist() if x < 100} < kept
    # The logits stay with their samples.
    assert torch.equal(buffer.logits[:, 0], (buffer.labels >= 2).float())


def test_a_buffer_without_room_stays_empty():
    buffer = ReplayBuffer(0)
    buffer.store(
        torch.zeros(4, 1),
        torch.tensor([0, 0, 1, 1]),
        torch.zeros(4, 2),
        num_seen=2,
        generator=torch.Generator(),
    )
    assert len(buffer) == 0
    with pytest.raises(ValueError, match="capacity is -1"):
        ReplayBuffer(-1)


# --- losses ---------------------------------------------------------------------------------------


def test_dot_regression_by_hand():
    # Cosines 1, 0 and -1, whatever the lengths: half the mean of 0, 1 and 4.
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-3.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    assert dot_regression(features, targets).item() == pytest.approx(5 / 6)


def learner_and_batch(*, stored=0):
    model = network()
    features = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0])
    frame = SimplexFrame(torch.linalg.qr(features.T[:, :4]).Q.T.contiguous())
    learner = Learner(model, ReplayBuffer(8), torch.Generator(), num_seen=4, frame=frame)
    teacher = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    logits = torch.randn(stored, 6, generator=torch.Generator().manual_seed(3))
    return learner, Batch(features, labels, teacher, stored, logits)


def test_the_loss_of_progressive_collapse_is_the_sum_of_its_three_terms():
    learner, batch = learner_and_batch()
    strategy = ProgressiveCollapse(alignment=3, distillation=7)
    plain = cross_entropy(learner.model.classifier(batch.features), batch.labels)
    assert strategy.loss(learner, batch).item() == pytest.approx(plain.item())  # first task
    learner.targets = learner.frame.vertices
    cosine = (normalize(batch.features) * learner.targets[batch.labels]).sum(1)
    old = torch.cosine_similarity(batch.features, batch.teacher_features)
    expected = plain + 1.5 * ((cosine - 1) ** 2).mean() + 3.5 * ((old - 1) ** 2).mean()
    assert strategy.loss(learner, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_fixed_simplex_has_no_cross_entropy():
    learner, batch = learner_and_batch()
    learner.targets = learner.frame.vertices
    loss = FixedSimplex(alignment=2, distillation=0).loss(learner, batch)
    expected = 2 * dot_regression(batch.features, learner.targets[batch.labels])
    assert loss.item() == pytest.approx(expected.item())


def test_dark_experience_holds_stored_samples_to_their_logits():
    learner, batch = learner_and_batch(stored=2)
    logits = learner.model.classifier(batch.features)
    expected = (
        cross_entropy(logits[:3], batch.labels[:3])
        + 0.7 * cross_entropy(logits[3:], batch.labels[3:])
        + 0.5 * ((logits[-2:] - batch.stored_logits) ** 2).mean()
    )
    for kind in (DarkExperience, BalancedDarkExperience):
        assert kind(0.5, 0.7).loss(learner, batch).item() == pytest.approx(expected.item())


def test_asymmetric_replay_leaves_old_classes_out_where_samples_are_new():
    learner, batch = learner_and_batch(stored=2)
    batch = replace(batch, labels=torch.tensor([2, 3, 2, 0, 1]))
    learner.num_old = 2
    logits = learner.model.classifier(batch.features)
    # Classes 0 and 1 are old; 4 and 5 have not come yet and are pushed down as in the reference.
    expected = cross_entropy(logits[:3, 2:], batch.labels[:3] - 2) + cross_entropy(
        logits[3:], batch.labels[3:]
    )
    assert AsymmetricReplay().loss(learner, batch).item() == pytest.approx(expected.item())
    learner.num_old = 0  # in the first task nothing is left out and nothing replayed
    first = cross_entropy(logits[:3], batch.labels[:3])
    assert AsymmetricReplay().loss(learner, batch).item() == pytest.approx(first.item())


def test_icarl_keeps_what_the_teacher_says_of_old_classes():
    learner, batch = learner_and_batch()
    logits = learner.model.classifier(batch.features)[:, :4].double()
    plain = ICaRL().loss(learner, batch)
    yes = torch.nn.functional.one_hot(batch.labels, 4).double()

    def by_hand(targets):
        likely = logits.sigmoid()
        return -(targets * likely.log() + (1 - targets) * (1 - likely).log()).sum(1).mean()

    assert plain.item() == pytest.approx(by_hand(yes).item(), rel=1e-5)
    learner.teacher, learner.num_old = network(seed=1), 2
    old = learner.teacher.classifier(batch.teacher_features)[:, :2].double().sigmoid()
    mixed = torch.cat([old, yes[:, 2:]], 1)
    assert ICaRL().loss(learner, batch).item() == pytest.approx(by_hand(mixed).item(), rel=1e-5)


def test_herding_takes_first_what_brings_the_mean_nearest():
    draw = torch.Generator().manual_seed(5)
    features = torch.randn(30, 4, generator=draw) + torch.tensor([2.0, 0, 0, 0])
    labels = torch.arange(30) % 2
    order = herding(features, labels, 5)
    assert sorted(order.tolist()) == list(range(30))
    directions = normalize(features)
    for label in (0, 1):
        mine = [i for i in order[:10].tolist() if labels[i] == label]
        assert len(mine) == 5
        mean = directions[labels == label].mean(0)
        for count in range(5):  # by brute force
            left = [i for i in range(30) if labels[i] == label and i not in mine[:count]]
            gaps = {i: (directions[[*mine[:count], i]].mean(0) - mean).norm().item() for i in left}
            assert gaps[mine[count]] == pytest.approx(min(gaps.values()))
    assert len(herding(features, labels, 100)) == 30


def test_stored_means_decide_in_icarl_and_classes_without_samples_are_named():
    seen = []

    def observe(task, learner):
        means = exemplar_directions(learner)
        stored = normalize(learner.model.features(learner.buffer.inputs))
        for label in range(learner.num_seen):
            mean = normalize(stored[learner.buffer.labels == label].mean(0), dim=0)
            assert torch.allclose(means[label], mean, atol=1e-6)
        features = torch.randn(7, 16, generator=torch.Generator().manual_seed(task))
        expected = torch.cosine_similarity(features[:, None], means, dim=2).argmax(1)
        assert ICaRL().scores(learner, features).argmax(1).tolist() == expected.tolist()
        seen.append(task)

    result = run(ICaRL(), observe=observe)
    assert seen == [0, 1, 2]
    assert task_accuracy(ICaRL(), result.learner, Stream.split(DATA, 3).tasks[2]) == (
        result.class_il[2, 2],
        result.task_il[2, 2],
    )
    with pytest.raises(ValueError, match=r"buffer_size is 0, and ICaRL decides .* use at least 6"):
        run(ICaRL(), buffer_size=0)
    result.learner.buffer.labels[:] = 1
    with pytest.raises(ValueError, match=r"no sample of class 0 is stored.*buffer_size"):
        exemplar_directions(result.learner)


# --- the reservoir --------------------------------------------------------------------------------


def test_in_a_reservoir_every_sample_has_the_same_chance():
    counts = torch.zeros(40)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        buffer = ReplayBuffer(5)
        for batch in torch.arange(40).split(7):
            logits = batch[:, None].float()
            buffer.insert(logits, batch, logits + 0.5, generator=generator)
        assert len(buffer) == 5
        assert torch.equal(buffer.inputs[:, 0], buffer.labels.float())
        assert torch.equal(buffer.logits, buffer.inputs + 0.5)
        counts[buffer.labels] += 1
    # 2,000 x 5 / 40 = 250 each, with a standard deviation of 15.
    assert 250 - 60 < counts.min() <= counts.max() < 250 + 60


def test_dark_experience_stores_the_logits_of_the_step():
    stored = {}

    class Spy(DarkExperience):
        def begin_epoch(self, learner, task, elapsed):
            logits = learner.model.classifier(learner.model.features(task.inputs)).detach()
            stored.setdefault(learner.num_seen, []).append(logits)

    result = run(Spy(), num_tasks=1, epochs=2, buffer_size=12, learning_rate=0.0)
    buffer, task = result.learner.buffer, Stream.split(DATA, 1).tasks[0]
    assert buffer.passed == 240
    rows = [(task.inputs == kept).all(1).nonzero()[0, 0].item() for kept in buffer.inputs]
    assert torch.allclose(buffer.logits, stored[6][0][rows], atol=1e-6)
    moved = run(Spy(), num_tasks=1, epochs=2, buffer_size=12, learning_rate=0.3)
    after = moved.learner.model.classifier(
        moved.learner.model.features(moved.learner.buffer.inputs)
    )
    assert not torch.allclose(moved.learner.buffer.logits, after, atol=1e-2)


# --- the loop -------------------------------------------------------------------------------------


def test_naive_on_one_task_is_plain_training():
    stream = Stream.split(DATA, 1)
    trained = learn(stream, Naive(), model=network(), epochs=2, seed=4, progress=False)
    model, generator = network(), torch.Generator().manual_seed(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    for epoch in range(2):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 if epoch < 1 else 0.003
        for chosen in torch.randperm(120, generator=generator).split(32):
            optimizer.zero_grad()
            cross_entropy(model(DATA.inputs[chosen]), DATA.labels[chosen]).backward()
            optimizer.step()
    for mine, expected in zip(trained.learner.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, expected, atol=1e-6)


def test_two_runs_with_one_seed_agree_and_another_seed_differs():
    first, again = run(ExperienceReplay(), seed=1), run(ExperienceReplay(), seed=1)
    other = run(ExperienceReplay(), seed=2)
    assert np.array_equal(first.class_il, again.class_il, equal_nan=True)
    weights = [r.learner.model.classifier.weight for r in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_replay_helps_and_everything_helps_more():
    scores = {
        type(s).__name__: final_accuracy(run(s, epochs=15, learning_rate=0.05).class_il)
        for s in (Naive(), ExperienceReplay(), Joint())
    }
    assert scores["Naive"] + 0.2 < scores["ExperienceReplay"] < scores["Joint"] + 1e-9


def test_the_accuracy_matrices_have_their_shape_and_task_il_is_never_below_class_il():
    result = run(ExperienceReplay())
    assert result.class_il.shape == result.task_il.shape == (3, 3)
    seen = np.tril(np.ones((3, 3), bool))
    assert np.isnan(result.class_il[~seen]).all()
    assert not np.isnan(result.class_il[seen]).any()
    assert (result.task_il[seen] >= result.class_il[seen]).all()
    assert result.class_il[0, 0] == result.task_il[0, 0]


def test_drift_is_one_at_home_and_measured_against_the_own_task():
    models = []
    result = run(Naive(), observe=lambda index, learner: models.append(deepcopy(learner.model)))
    stream = Stream.split(DATA, 3)
    for index, task in enumerate(stream.tasks):
        here = slice(task.classes.start, task.classes.stop)
        assert result.drift[index, here] == pytest.approx(1, abs=1e-6)
        assert np.isnan(result.drift[:index, here]).all()
    first = stream.tasks[0]
    expected = torch.cosine_similarity(
        mean_directions(models[2], first), mean_directions(models[0], first)
    )
    assert result.drift[2, :2] == pytest.approx(expected.numpy(), abs=1e-6)
    assert (result.drift[2, :2] < 0.999).any()


def test_the_teacher_is_the_network_before_the_task_and_never_trains():
    seen = []

    class Spy(ProgressiveCollapse):
        def loss(self, learner, batch):
            if learner.teacher is not None:
                assert not batch.teacher_features.requires_grad
                assert not any(p.requires_grad for p in learner.teacher.parameters())
                seen.append(learner.teacher.classifier.weight.clone())
            return super().loss(learner, batch)

    ends = []
    run(Spy(1, 1), observe=lambda i, learner: ends.append(learner.model.classifier.weight.clone()))
    half = len(seen) // 2
    assert torch.equal(seen[0], ends[0])
    assert torch.equal(seen[half - 1], ends[0])
    assert torch.equal(seen[-1], ends[1])


def test_progressive_collapse_grows_one_frame():
    frames = []
    run(ProgressiveCollapse(5, 5), observe=lambda i, learner: frames.append(learner.frame))
    assert [len(frame.basis) for frame in frames] == [2, 4, 6]
    for old, new in pairwise(frames):
        count = len(old.basis)
        assert torch.equal(new.basis[:count], old.basis)
        cosines = (old.vertices * new.vertices[:count]).sum(1)
        assert cosines == pytest.approx(growth_cosine(count, len(new.basis)), abs=1e-6)


def test_after_the_first_task_progressive_collapse_uses_the_classifier_then_the_vertices():
    learner, batch = learner_and_batch()
    strategy = ProgressiveCollapse(1, 1)
    logits = learner.model.classifier(batch.features)[:, :4]
    assert torch.equal(strategy.scores(learner, batch.features), logits)
    learner.targets = learner.frame.vertices
    scores = strategy.scores(learner, batch.features)
    cosines = normalize(batch.features) @ learner.targets.T
    assert torch.equal(scores.argmax(1), cosines.argmax(1))


def test_the_fixed_simplex_leads_new_classes_from_their_mean_to_their_vertex():
    starts = []

    class Spy(FixedSimplex):
        def begin_epoch(self, learner, task, elapsed):
            super().begin_epoch(learner, task, elapsed)
            starts.append((elapsed, task.classes.start, learner.targets, learner.frame))
            if elapsed == 0 and task.classes.start:
                means = normalize(mean_directions(learner.model, task))
                assert torch.allclose(learner.targets[task.classes.start :], means, atol=1e-6)

    result = run(Spy(5, 5), epochs=4)
    first = [row for row in starts if row[1] == 0]
    assert all(torch.equal(row[2], row[3].vertices[:2]) for row in first)
    assert [row[0] for row in first] == [0, 0.25, 0.5, 0.75]
    assert len(result.learner.frame.basis) == 6
    assert torch.equal(result.learner.targets, result.learner.frame.vertices)


def test_merged_replay_sees_buffer_and_task_and_naive_only_the_task():
    labels = {"merged": set(), "none": set()}

    class Merged(ProgressiveCollapse):
        def loss(self, learner, batch):
            if learner.num_seen == 6:
                labels["merged"] |= set(batch.labels.tolist())
            return super().loss(learner, batch)

    class Alone(Naive):
        def loss(self, learner, batch):
            if learner.num_seen == 6:
                labels["none"] |= set(batch.labels.tolist())
            return super().loss(learner, batch)

    run(Merged(1, 1), epochs=1)
    run(Alone(), epochs=1)
    assert labels == {"merged": set(range(6)), "none": {4, 5}}


def test_augmentation_touches_training_inputs_only():
    seen = []

    def shift(inputs, generator):
        seen.append(len(inputs))
        return inputs + 100

    plain = run(Naive(), epochs=0)
    shifted = run(Naive(), epochs=0, augment=shift)
    assert not seen
    assert np.array_equal(plain.class_il, shifted.class_il, equal_nan=True)
    run(Naive(), epochs=1, augment=shift)
    assert sum(seen) == 120


# --- refusals -------------------------------------------------------------------------------------


def test_growth_past_the_feature_dimension_is_refused_before_any_training():
    model = network(dim=5)
    before = deepcopy(model.state_dict())
    for strategy in (ProgressiveCollapse(1, 1), FixedSimplex(1, 1)):
        with pytest.raises(ValueError, match=r"6 classes and the features 5 dim.*widen"):
            learn(Stream.split(DATA, 3), strategy, model=model, epochs=1, progress=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_simplex_of_one_class_is_refused_before_any_training_and_the_remedy_works():
    model = network()
    before = deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"first task has one class.*fewer tasks.*FixedSimplex"):
        learn(
            Stream.split(DATA, 6),
            ProgressiveCollapse(1, 1),
            model=model,
            epochs=1,
            buffer_size=12,
            progress=False,
        )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    run(ProgressiveCollapse(1, 1), num_tasks=5, epochs=1)
    run(FixedSimplex(1, 1), num_tasks=6, epochs=1)


def test_a_training_that_diverges_says_so_and_what_to_do():
    with pytest.raises(Diverged, match=r"in task 1 of 3 at learning rate 1e\+30 — take a smaller"):
        run(Naive(), learning_rate=1e30)


def test_a_model_with_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"classifier has 4 rows; .* has 6 classes"):
        learn(Stream.split(DATA, 3), Naive(), model=network(4), epochs=1, progress=False)


def test_a_buffer_smaller_than_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"buffer_size is 5; .*each of the 6 classes"):
        run(ExperienceReplay(), buffer_size=5)
    run(ExperienceReplay(), buffer_size=0, epochs=1)


def test_one_class_a_task_is_measured_from_the_second_on():
    collapse = run(ExperienceReplay(), num_tasks=6, epochs=1).collapse
    assert np.isnan(collapse["nc1"][0])
    assert np.isfinite(collapse["nc1"][1:]).all()


# --- summaries ------------------------------------------------------------------------------------

MATRIX = np.array([[0.9, np.nan, np.nan], [0.95, 0.8, np.nan], [0.5, 0.6, 1.0]])


def test_summaries_by_hand():
    assert final_accuracy(MATRIX) == pytest.approx(2.1 / 3)
    assert anytime_accuracy(MATRIX) == pytest.approx((0.9 + 0.875 + 0.7) / 3)
    assert forgetting(MATRIX) == pytest.approx((0.45 + 0.2) / 2)
    assert backward_transfer(MATRIX) == pytest.approx((-0.4 - 0.2) / 2)
    # Here the first task was best after the second: the two definitions of forgetting differ.
    assert first_minus_last(MATRIX) == pytest.approx((0.4 + 0.2) / 2)
    better = np.array([[0.5, np.nan], [0.9, 0.8]])
    assert (forgetting(better), first_minus_last(better)) == (0, pytest.approx(-0.4))
    assert forgetting(np.array([[0.9]])) == backward_transfer(np.array([[0.9]])) == 0


@pytest.mark.parametrize("function", [final_accuracy, anytime_accuracy, forgetting])
def test_summaries_refuse_what_is_no_accuracy_matrix(function):
    with pytest.raises(ValueError, match=r"is \(2, 3\); expected \(tasks, tasks\)"):
        function(np.zeros((2, 3)))
    broken = MATRIX.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="a task was skipped"):
        function(broken)


def test_strategies_are_configuration_only():
    strategy = ProgressiveCollapse(alignment=5, distillation=5)
    first = final_accuracy(run(strategy).class_il)
    assert final_accuracy(run(strategy).class_il) == first
    assert replace(strategy, distillation=0) != strategy
