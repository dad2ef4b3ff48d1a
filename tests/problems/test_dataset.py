"""A map-style data set is read once into memory and gives the problem of its tensors."""

import collections

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

import subspan as ss
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.streams import watched_global_rngs


def rows(n=20, width=6, classes=3):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) % classes


def linear():
    return nn.Linear(6, 3)


class Items(Dataset):
    """Items made by a function of the index; counts how often each was read."""

    def __init__(self, make, size=20):
        self.make, self.size = make, size
        self.reads = collections.Counter()

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.make(index)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(6), 0)])


class NoLength(Dataset):
    def __getitem__(self, index):
        return torch.zeros(6), 0


class Indexed:
    """Of no class of PyTorch's, but indexable and with a length."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return X[index], int(Y[index])


X, Y = rows()


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(X, Y),
        Subset(TensorDataset(X.repeat(2, 1), Y.repeat(2)), range(20)),
        ConcatDataset([TensorDataset(X[:5], Y[:5]), TensorDataset(X[5:], Y[5:])]),
        Items(lambda i: (X[i].numpy(), np.int64(Y[i]))),
        Items(lambda i: [X[i].tolist(), int(Y[i])]),
        Items(lambda i: (X[i].double().numpy(), Y[i])),
        Indexed(),
    ],
    ids=["tensors", "subset", "concat", "arrays", "lists, ints", "float64", "no class of PyTorch"],
)
def test_a_data_set_is_the_problem_of_its_tensors(dataset):
    one = Problem(linear, dataset, Subset(dataset, [3, 1, 2]))
    other = Problem(linear, (X, Y), (X[[3, 1, 2]], Y[[3, 1, 2]]))
    assert one.identity == other.identity
    for split in ("train", "test"):
        assert all(map(torch.equal, one.batch(split=split), other.batch(split=split)))
    spec = ss.TrainSpec(steps=2, batch_size=8, dtype="float64")
    trials = [
        ss.run(p, "random", dims=[3], repeats=1, spec=spec, executor="inline") for p in (one, other)
    ]
    assert trials[0][0].key == trials[1][0].key
    assert trials[0][0].curve == trials[1][0].curve


def test_regression_targets_and_single_numbers():
    dataset = Items(lambda i: (X[i], float(X[i].sum())))
    one = Problem(lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), dataset, loss="mse")
    torch.testing.assert_close(one.batch()[1], X.sum(1))


def test_tuples_and_mappings_keep_their_places_and_names():
    pairs = Items(lambda i: ((X[i], Y[i]), Y[i]))
    named = Items(lambda i: ({"token": Y[i], "image": X[i]}, Y[i]))

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.linear = nn.Embedding(5, 3), nn.Linear(6, 3)

        def forward(self, image, token):
            return self.table(token) + self.linear(image)

    assert Problem(Two, pairs).identity == Problem(Two, ((X, Y), Y)).identity
    given = Problem(Two, ({"token": Y, "image": X}, Y)).identity
    assert Problem(Two, named).identity == given


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_pillow_become_channels_first_in_0_to_1(mode):
    shape = (20, 5, 4) if mode == "L" else (20, 5, 4, 3)
    pixels = (torch.arange(20 * 5 * 4 * 3) * 7 % 256).to(torch.uint8)[: np.prod(shape)]
    pixels = pixels.reshape(shape).numpy()
    dataset = Items(lambda i: (Image.fromarray(pixels[i]), i % 3))
    x = torch.from_numpy(pixels).float() / 255
    x = x[:, None] if mode == "L" else x.permute(0, 3, 1, 2)
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3))  # noqa: E731
    problem = Problem(make, dataset)
    assert torch.equal(problem.batch()[0], x)
    assert problem.identity == Problem(make, (x, Y)).identity


def test_each_item_is_read_once_and_some_again():
    dataset = Items(lambda i: (X[i % 20], i % 3), 500)
    problem = Problem(linear, dataset)
    assert problem.train_size == 500
    assert set(dataset.reads) == set(range(500))
    assert sum(count == 2 for count in dataset.reads.values()) == 64
    assert set(dataset.reads.values()) == {1, 2}


def test_fine_tuning_reads_them_too():
    module = linear()
    one = ss.adapters.fine_tuning(module, TensorDataset(X, Y), TensorDataset(X[:5], Y[:5]))
    other = ss.adapters.fine_tuning(module, (X, Y), (X[:5], Y[:5]))
    assert one.identity == other.identity


# ---- refusals


def flipped(p):
    return lambda i: (X[i % 20].flip(0) if torch.rand(()) < p else X[i % 20], i % 3)


def noisy_now_and_then(i):
    return X[i % 20] + (np.random.rand() if i == 151 else 0.0), i % 3  # noqa: NPY002


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Items(flipped(0.5)), "train item .*: expected the same numbers whenever it is read"),
        (Items(flipped(0.05), 400), "the same numbers whenever .* transform=.* trainable"),
        (Items(lambda i: (X[i] + np.random.rand(), 0)), "the same numbers"),  # noqa: NPY002
        (Items(noisy_now_and_then, 300), "train item 151: expected the same numbers"),
        (Items(lambda i: (torch.zeros(6 + (i == 7)), 0)),
         r"train item 7: expected shape \(6,\), as in item 0, got \(7,\)\. .* pad, crop"),
        (Items(lambda i: (X[i], 0.5 if i == 4 else 1)),
         "train item 4: expected torch.int64, as in item 0, got torch.float32"),
        (Items(lambda i: ({"a" if i < 3 else "b": X[i]}, 0)), "train item 3: expected"),
        (Items(lambda i: (X[i], "cat")), "train item 0, target: expected numbers.*got text"),
        (Items(lambda i: (object(), 0)), "train item 0, input: expected numbers.*got object"),
        (Items(lambda i: X[i]), r"train item 0: expected a pair \(input, target\), got Tensor"),
        (Items(lambda i: (X[i], 0, 1)), "train item 0: expected a pair .* got 3 parts"),
        (Items(lambda i: {"x": X[i], "y": 0}), "train item 0: expected a pair .* got dict"),
        (Items(lambda i: (X[i], {}["y"])), "train item 0: expected an item, got KeyError. .*'y'"),
        (Items(lambda i: (X[i] / (i != 5), 0)), "train inputs: expected finite numbers"),
        (Items(lambda i: (X[i], 0), 0), "train: expected a data set of one item or more, got an"),
        (Stream(), "train: .*got Stream, a stream. Make a trainable"),
        (NoLength(), "train: expected a data set with a length, got NoLength"),
        (DataLoader(TensorDataset(X, Y)), "train: expected a data set, got a DataLoader"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_into_memory_as_it_is_is_refused(dataset, message):
    with pytest.raises(InputError, match=message):
        Problem(linear, dataset)


def test_global_generators_are_left_alone_by_a_data_set_that_draws():
    dataset = Items(flipped(0.5))
    with watched_global_rngs() as moved, pytest.raises(InputError):
        Problem(linear, dataset)
    assert moved == []


def test_a_generator_of_its_own_is_noticed_in_the_items_read_twice():
    generator = torch.Generator().manual_seed(0)
    dataset = Items(lambda i: (X[i] + torch.rand(1, generator=generator), 0))
    with pytest.raises(InputError, match="the same numbers"):
        Problem(linear, dataset)
