import pytest
import torch
from torch import nn

import subspan as ss
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.testing import check_problem


def rows(n=20, width=6, classes=3):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) % classes


def images(n=12, classes=3):
    return torch.linspace(-2, 2, n * 2 * 8 * 8).reshape(n, 2, 8, 8).sin(), torch.arange(n) % classes


def dense():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def convolutional():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def normed():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 3),
    )


class Tied(nn.Module):
    """One matrix used twice: it is one tensor of the layout."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight
        self.register_buffer("constant", torch.ones(6))

    def forward(self, x):
        return self.head(self.b(self.a(x).tanh()) * self.constant)


@pytest.mark.parametrize(
    ("make", "data", "loss"),
    [
        (dense, rows(), "cross_entropy"),
        (convolutional, images(), "cross_entropy"),
        (normed, images(), "cross_entropy"),
        (Tied, rows(), "cross_entropy"),
        (lambda: nn.Linear(6, 2), (rows()[0], rows(width=2)[0]), "mse"),
        (dense, rows(), lambda out, y: nn.functional.cross_entropy(out, y, label_smoothing=0.1)),
    ],
    ids=["dense", "conv", "batch norm", "tied", "mse", "custom loss"],
)
def test_laws(make, data, loss):
    check_problem(Problem(make, data, data, loss=loss), rows=8)


def test_loss_is_the_modules_own():
    data = rows()
    problem = Problem(dense, data)
    module = dense()
    weights = problem.layout.flatten(dict(module.named_parameters())).detach()
    expected = nn.functional.cross_entropy(module(data[0]), data[1])
    torch.testing.assert_close(problem.loss(weights, data), expected.detach())
    evaluation = problem.evaluate(weights)
    assert evaluation.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert evaluation.accuracy == pytest.approx(
        float((module(data[0]).argmax(1) == data[1]).float().mean())
    )


def test_images_come_back_as_given():
    x, y = images()
    problem = Problem(convolutional, (x, y))
    got, labels = problem.batch(torch.tensor([3, 1]))
    assert torch.equal(got, x[[3, 1]])
    assert torch.equal(labels, y[[3, 1]])
    many, _ = problem.batch(torch.tensor([[3, 1], [0, 2]]))
    assert torch.equal(many[1], x[[0, 2]])


def test_batch_norm_uses_the_current_batch_in_training_and_the_whole_split_in_evaluation():
    x, y = images()
    problem = Problem(normed, (x, y), (x[:4], y[:4]))
    assert problem.batch_norm
    w = problem.init(0)
    reference = normed().train()
    with torch.no_grad():
        for p, value in zip(reference.parameters(), problem.layout.split(w).values(), strict=True):
            p.copy_(value)
        small = nn.functional.cross_entropy(reference(x[:5]), y[:5])
        whole = nn.functional.cross_entropy(reference(x), y)
    torch.testing.assert_close(problem.loss(w, problem.batch(torch.arange(5))), small)
    assert problem.evaluate(w).loss == pytest.approx(float(whole), rel=1e-5)


def test_init_depends_on_its_seed_and_not_on_the_global_generator():
    problem = Problem(dense, rows())
    a = problem.init(1)
    torch.rand(5)
    assert torch.equal(problem.init(1), a)
    assert not torch.equal(problem.init(2), a)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.linear(x)


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (Counting, rows(), "buffer 'calls', which changes"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)), rows(), "dropout='off'"),
        (
            lambda: nn.Linear(7, 3),
            rows(),
            r"inputs that the module takes, got rows of shape \(6,\)",
        ),
        (dense, (rows()[0], rows(n=19)[1]), "as many targets"),
        (dense, (rows()[0] * float("nan"), rows()[1]), "NaN or infinity in 20 of 20 rows"),
        (dense, rows(classes=4), r"train labels: expected integers in 0 … 2.*, got 0 … 3"),
        (dense, (rows()[0], rows()[1] - 1), r"got -1 … 1"),
        (lambda: nn.Flatten(), rows(), "a module with parameters to train, got none"),
        (dense(), rows(), "a function that returns a fresh module, got a module"),
        (dense, (rows()[0], rows()[1].float()), "integers for cross_entropy"),
        (dense, 3, "a pair"),
        (dense, (torch.zeros(0, 6), torch.zeros(0)), "n ≥ 1"),
    ],
)
def test_bad_input_is_refused_in_one_clear_sentence(make, data, message):
    with pytest.raises(InputError, match=message):
        Problem(make, data)


def test_labels_of_the_test_split_are_checked_too():
    with pytest.raises(InputError, match="test labels"):
        Problem(dense, rows(), rows(classes=5))


def test_unknown_loss_and_split():
    with pytest.raises(InputError, match="Did you mean 'cross_entropy'"):
        Problem(dense, rows(), loss="crossentropy")
    with pytest.raises(InputError, match="'train' or 'test'"):
        Problem(dense, rows()).evaluate(torch.zeros(53), "val")


def test_dropout_can_be_switched_off():
    problem = Problem(
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)), rows(), dropout="off"
    )
    w = problem.init(0)
    assert problem.evaluate(w) == problem.evaluate(w)


def test_identity_tells_data_and_modules_apart():
    base = Problem(dense, rows()).identity
    assert Problem(dense, rows()).identity == base
    x, y = rows()
    assert Problem(dense, (x + 1, y)).identity != base
    assert (
        Problem(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), rows()).identity
        != base
    )


def test_weights_of_another_length_are_refused():
    with pytest.raises(
        InputError, match=r"weights: expected shape \(\.\.\., 53\), got shape \(3,\)"
    ):
        Problem(dense, rows()).evaluate(torch.zeros(3))


def test_splits_of_ones_own_are_evaluated_and_goals_name_them():
    x = torch.linspace(-1, 1, 40).reshape(20, 2)
    y = (x[:, 0] > 0).long()
    make = lambda: torch.nn.Linear(2, 2)  # noqa: E731
    plain = ss.Problem(make, (x[:12], y[:12]), (x[16:], y[16:]), name="split")
    problem = ss.Problem(
        make, (x[:12], y[:12]), (x[16:], y[16:]), name="split", splits={"val": (x[12:16], y[12:16])}
    )
    assert problem.splits == ("train", "test", "val")
    assert problem.identity != plain.identity
    weights = problem.init(3)
    own = problem.layout.split(weights)
    logits = x[12:16] @ own["weight"].T + own["bias"]
    wanted = torch.nn.functional.cross_entropy(logits, y[12:16])
    assert problem.evaluate(weights, "val").loss == pytest.approx(float(wanted), rel=1e-6)
    (record,) = ss.run(problem, "random", dims=[4], repeats=1, workers=1)
    assert {"val:loss", "val:accuracy"} <= set(record.metrics)
    found = ss.threshold(
        problem, "random", "val:loss<=0.3", spec=ss.TrainSpec(lr=0.1, steps=30), workers=1, width=2,
        max_trials=4,
    )  # fmt: skip
    assert str(found.goal) == "val:loss<=0.3"
    assert found.counts
    assert "splits" not in plain.identity
    assert problem.identity["splits"] == ["train", "test", "val"]
    with pytest.raises(InputError, match="splits: expected names other than train and test"):
        ss.Problem(make, (x, y), splits={"test": (x, y)})
    with pytest.raises(InputError, match="'train' or 'test' or 'val'"):
        problem.evaluate(weights, "dev")
